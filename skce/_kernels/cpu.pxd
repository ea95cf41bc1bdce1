cdef int threads_for(int n_threads, double work, double enough, Py_ssize_t blocks) noexcept
