/* Datetimes (values.sql, instant) of the years that no zone leads out of. */

enum { FIRST_YEAR = 2, LAST_YEAR = 9998 };

/* A number of so many digits; -1: there is none. */
static int32_t number_of(at p, int digits) {
    int32_t number = 0;
    for (; digits--; p++) {
        if (*p < '0' || *p > '9')
            return -1;
        number = number * 10 + (*p - '0');
    }
    return number;
}

/* Days since 1970 of a date of the Gregorian calendar. Years begin in March here, so that a leap day ends one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month < 3;
    month = (month + 9) % 12;
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719468;
}

static bool is_date(int32_t year, int32_t month, int32_t day) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = !(year % 4) && (year % 100 || !(year % 400));
    return year >= FIRST_YEAR && year <= LAST_YEAR && month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (leap && month == 2);
}

/* Seconds that a zone is ahead of UTC. False: it is none. */
static bool zone_of(at p, at end, int32_t *zone) {
    *zone = 0;
    if (p == end || (end - p == 1 && (*p == 'Z' || *p == 'z')))
        return true;
    bool colon = end - p == 6 && p[3] == ':';
    if ((*p != '+' && *p != '-') || (!colon && end - p != 5))
        return false;
    int32_t hours = number_of(p + 1, 2), minutes = number_of(p + 3 + colon, 2);
    *zone = (hours * 60 + minutes) * (*p == '-' ? -60 : 60);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/* Microseconds since 1970. False: it is no such datetime. From `p` on, AHEAD bytes can be read. */
static bool instant_of(at p, at end, int64_t *instant) {
    int32_t year = number_of(p, 4), hour, minute, second = 0, fraction = 0, zone;
    if (end - p < 10 || p[4] != '-' || p[7] != '-' || !is_date(year, number_of(p + 5, 2), number_of(p + 8, 2)))
        return false;
    int64_t days = days_of(year, number_of(p + 5, 2), number_of(p + 8, 2));
    *instant = days * 86400 * 1000000;
    p += 10;
    if (p == end)
        return true;
    if (end - p < 6 || (*p != 'T' && *p != ' ') || p[3] != ':')
        return false;
    hour = number_of(p + 1, 2);
    minute = number_of(p + 4, 2);
    p += 6;
    if (end - p >= 3 && *p == ':') {
        second = number_of(p + 1, 2);
        p += 3;
        if (end - p > 1 && *p == '.' && p[1] >= '0' && p[1] <= '9') /* what is below a microsecond is cut off */
            for (int32_t unit = 100000; ++p < end && *p >= '0' && *p <= '9'; unit /= 10)
                fraction += (*p - '0') * unit;
    }
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || !zone_of(p, end, &zone))
        return false;
    *instant += (int64_t)(hour * 3600 + minute * 60 + second - zone) * 1000000 + fraction;
    return true;
}
