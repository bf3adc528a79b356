OPENMP: int
L1_CACHE: int
L2_CACHE: int

def supported() -> list[str]: ...
