// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Elementary functions of our own in plain double arithmetic, so that guest (musl) and host (glibc)
// compute the same bits. Errors are a few units in the last place: tables and sampling need no
// more.
#ifndef TENSOR_CORE_MATH_H
#define TENSOR_CORE_MATH_H

double tn_exp(double x);                                // any x; 0 and infinity beyond the range
double tn_log(double x);                                // x > 0 and finite
double tn_pow(double base, double exponent);            // base > 0
void tn_sincos(double x, double *sine, double *cosine); // |x| up to 1e9

#endif
