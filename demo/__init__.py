"""What conv2d does, shown on a picture of the sky: `python -m demo` leaves one page of HTML."""
