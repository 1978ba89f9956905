// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Elementary functions: argument reduction, then a short series. See math.h for why not libm.
#include "tensor/core/math.h"

#include <stdint.h>
#include <string.h>

static const double ln2_hi = 0x1.62e42fefa0000p-1; // its low bits are zero: n * ln2_hi is exact
static const double ln2_lo = 0x1.cf79abc9e3b3ap-40;

static double power_of_two(int n) // -1022..1023
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

// Nearest integer for |x| < 2^51.
static double nearest(double x)
{
    const double shift = 0x1.8p52;
    volatile double t = x + shift; // volatile: the sum must be rounded, not simplified
    return t - shift;
}

double tn_exp(double x)
{
    static const double inverse[15] = {0,        1.0,      1.0 / 2,  1.0 / 3,  1.0 / 4,
                                       1.0 / 5,  1.0 / 6,  1.0 / 7,  1.0 / 8,  1.0 / 9,
                                       1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13, 1.0 / 14};
    if (x != x) {
        return x;
    }
    if (x > 709.0) {
        return __builtin_inf();
    }
    if (x < -708.0) {
        return 0;
    }
    double n = nearest(x * 0x1.71547652b82fep0);
    double r = (x - n * ln2_hi) - n * ln2_lo; // |r| <= ln2 / 2
    double sum = 1.0;
    for (int i = 14; i >= 1; i--) {
        sum = 1.0 + sum * (r * inverse[i]);
    }
    return sum * power_of_two((int)n);
}

double tn_log(double x)
{
    uint64_t bits;
    int exponent = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        exponent = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    exponent += (int)(bits >> 52 & 0x7ff) - 1023;
    bits = (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1.0) / (m + 1.0); // log m = 2 artanh s, |s| < 0.172
    double z = s * s;
    double sum = 0;
    for (int i = 21; i >= 1; i -= 2) {
        sum = sum * z + 1.0 / i;
    }
    double e = exponent;
    return e * ln2_hi + (2.0 * s * sum + e * ln2_lo);
}

double tn_pow(double base, double exponent)
{
    return tn_exp(exponent * tn_log(base));
}

void tn_sincos(double x, double *sine, double *cosine)
{
    // pi/2 in three parts; the first two have zeros below, so their products with n stay exact.
    static const double half_pi[3] = {0x1.921fb54400000p0, 0x1.0b4611a600000p-34,
                                      0x1.3198a2e037073p-69};
    double n = nearest(x * 0x1.45f306dc9c883p-1);
    double r = ((x - n * half_pi[0]) - n * half_pi[1]) - n * half_pi[2];
    double z = r * r;
    double s = 1.0, c = 1.0;
    for (int i = 17; i >= 3; i -= 2) {
        s = 1.0 - s * z / (i * (i - 1));
    }
    s *= r;
    for (int i = 18; i >= 2; i -= 2) {
        c = 1.0 - c * z / (i * (i - 1));
    }
    switch ((int64_t)n & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
        break;
    }
}
