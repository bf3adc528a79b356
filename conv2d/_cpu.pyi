OPENMP: int
L2_CACHE: int

def supported() -> list[str]: ...
