"""Which instruction levels this CPU runs, and its caches; compiled for the oldest level."""

cdef extern from *:
    """
    #if defined(CONV2D_LEVELS) && defined(__x86_64__)
    static int runs(int level)
    {
        return level == 4 ? __builtin_cpu_supports("x86-64-v4") != 0
             : level == 3 ? __builtin_cpu_supports("x86-64-v3") != 0
             : __builtin_cpu_supports("x86-64-v2") != 0;
    }
    #else
    static int runs(int level) { return 0 * level; }
    #endif
    #if defined(__unix__)
    #include <unistd.h>
    #endif
    #ifdef _SC_LEVEL2_CACHE_SIZE
    static long l1_cache(void) { return sysconf(_SC_LEVEL1_DCACHE_SIZE); }
    static long l2_cache(void) { return sysconf(_SC_LEVEL2_CACHE_SIZE); }
    #else
    static long l1_cache(void) { return 0; }
    static long l2_cache(void) { return 0; }
    #endif
    #ifdef _OPENMP
    static const int openmp = _OPENMP;
    #else
    static const int openmp = 0;
    #endif
    """
    bint runs(int level)
    long l1_cache()
    long l2_cache()
    const int openmp


def supported():
    """The levels this CPU runs, best first."""
    return [f"v{level}" for level in (4, 3, 2) if runs(level)] + ["generic"]


OPENMP = openmp
# Bytes of the caches of one core; 0 where the system does not tell.
L1_CACHE = max(l1_cache(), 0)
L2_CACHE = max(l2_cache(), 0)
