// DT_HD marks a function that is compiled for the host by g++ and for host and device by nvcc.
#pragma once

#ifdef __CUDACC__
#define DT_HD __host__ __device__
#else
#define DT_HD
#endif
