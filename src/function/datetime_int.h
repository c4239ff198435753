/* datetime_int: the op codes that rows of spec/functions/datetime.def share with their kernels. */
#ifndef PENSTOCK_FUNCTION_DATETIME_INT_H
#define PENSTOCK_FUNCTION_DATETIME_INT_H

enum { DAY_YEAR, DAY_QUARTER, DAY_MONTH, DAY_WEEK, DAY_DAY, DAY_OF_WEEK, DAY_WEEKDAY, DAY_OF_YEAR, DAY_YEAR_OF_WEEK };
enum { TIME_HOUR, TIME_MINUTE, TIME_SECOND };
enum { PARSE_DATE, PARSE_TIMESTAMP, PARSE_NTZ, PARSE_SECONDS, PARSE_KIND = 7, PARSE_TRY = 8 };

#endif
