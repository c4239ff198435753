/* statistics_int: the op codes that rows of spec/functions/statistics.def share with their kernels. */
#ifndef PENSTOCK_FUNCTION_STATISTICS_INT_H
#define PENSTOCK_FUNCTION_STATISTICS_INT_H

enum { STAT_STDDEV, STAT_VARIANCE, STAT_SKEWNESS, STAT_KURTOSIS, STAT_MASK = 7, STAT_POP = 8 };

#endif
