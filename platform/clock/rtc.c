// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The MC146818 real-time clock's fields (BCD or binary, 12 or 24 hours) to Unix time. Source:
// Motorola MC146818A data sheet.
#include "platform/clock/convert.h"

enum { STATUS_B_24H = 0x02, STATUS_B_BINARY = 0x04, HOUR_PM = 0x80 };

static bool decode(uint8_t raw, bool binary, uint8_t *value)
{
    if (binary) {
        *value = raw;
        return true;
    }
    if ((raw & 0x0f) > 9 || raw >> 4 > 9) {
        return false;
    }
    *value = (uint8_t)((raw >> 4) * 10 + (raw & 0x0f));
    return true;
}

static uint64_t days_before(unsigned year, unsigned month, unsigned day)
{
    static const uint16_t month_start[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    // Within 2000..2099 every fourth year is a leap year. 10957 days lie between 1970 and 2000.
    unsigned since = year - 2000;
    unsigned leaps = (since + 3) / 4;
    bool leap = since % 4 == 0;
    return 10957u + since * 365u + leaps + month_start[month - 1] + (leap && month > 2) + day - 1;
}

bool rtc_to_unix(const struct rtc_fields *f, uint64_t *seconds)
{
    bool binary = f->status_b & STATUS_B_BINARY;
    bool pm = false;
    uint8_t raw_hour = f->hour, second, minute, hour, day, month, year;
    if (!(f->status_b & STATUS_B_24H)) {
        pm = raw_hour & HOUR_PM;
        raw_hour = (uint8_t)(raw_hour & ~HOUR_PM);
    }
    if (!decode(f->second, binary, &second) || !decode(f->minute, binary, &minute) ||
        !decode(raw_hour, binary, &hour) || !decode(f->day, binary, &day) ||
        !decode(f->month, binary, &month) || !decode(f->year, binary, &year)) {
        return false;
    }
    if (!(f->status_b & STATUS_B_24H)) {
        if (hour < 1 || hour > 12) {
            return false;
        }
        hour = (uint8_t)(hour % 12 + (pm ? 12 : 0));
    }
    if (second > 59 || minute > 59 || hour > 23 || day < 1 || day > 31 || month < 1 || month > 12 ||
        year > 99) {
        return false;
    }
    *seconds =
        days_before(2000u + year, month, day) * 86400u + hour * 3600u + minute * 60u + second;
    return true;
}
