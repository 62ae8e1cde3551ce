"""exp, log, tanh and the normal distribution function in arithmetic that runs in vectors.

Numba without Intel's SVML calls the C library for every single element. Here each function is a
reduction of its argument and a polynomial: multiply-adds, selects and one bit trick, for a number
or for a vector of `lanes`. NaN goes in and comes out; infinity gives the limit.

The polynomials interpolate at Chebyshev nodes, computed in 40 digits; float32 takes the shorter
ones. Relative errors stay within 3 ulp in float32 and 1e-15 in float64; those of the normal
distribution grow with x^2 / 2.
Every function here takes numbers of either type and gives such of the same type.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from downslope.kernels.jit import exact, inner
from downslope.kernels.lanes import (
    call,
    constant,
    fused,
    like,
    magnitude,
    nearest,
    select,
    words_of,
)
from downslope.kernels.views import address

LOG2_E = 1.0 / math.log(2.0)
LN2_HIGH = 0.693145751953125
"""The first 16 bits of ln 2: its product with an exponent is exact in float32 too."""

LN2_LOW = 1.42860682030941723e-6
LOWEST_SINGLE, LOWEST_DOUBLE = -87.0, -708.0
"""exp falls to the smallest normal numbers here; further down it is 0."""


def is_single(x: Any) -> bool:
    """Say whether numbers of a type, or those in a vector, are float32."""
    return bool(getattr(x, "dtype", x) == types.float32)


def _polynomial(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """Make c0 + c1 x + c2 x^2 + ..., coefficients by the type of x."""

    @intrinsic
    def polynomial(typing, x):
        coefficients = single if is_single(x) else double

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (x,) = arguments
            value = constant(x.type, coefficients[-1])
            for coefficient in coefficients[-2::-1]:
                value = call(builder, "fmuladd", value, x, constant(x.type, coefficient))
            return value

        return x(x), generate

    return polynomial


@intrinsic
def lowest_exponent(typing, x):
    """The least x for which exp(x) is a normal number of its type."""
    value = LOWEST_SINGLE if is_single(x) else LOWEST_DOUBLE

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return constant(arguments[0].type, value)

    return x(x), generate


@intrinsic
def power_of_two(typing, n):
    """2^n for a whole n within the normal exponents.

    Adding 1.5 2^m (m bits of mantissa) and the exponent's bias leaves n + bias in the lowest bits;
    shifted up by m they are the exponent of the result.
    """
    mantissa, bias = (23, 127) if is_single(n) else (52, 1023)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (n,) = arguments
        words = words_of(n.type)
        shifted = builder.fadd(n, constant(n.type, 1.5 * 2.0**mantissa + bias))
        bits = builder.shl(builder.bitcast(shifted, words), constant(words, mantissa))
        return builder.bitcast(bits, n.type)

    return n(n), generate


@intrinsic
def split(typing, x):
    """x = 2^n m for a normal x > 0, with m in [sqrt(1/2), sqrt 2): gives (n, m)."""
    mantissa, root = (23, 0x3F3504F3) if is_single(x) else (52, 0x3FE6A09E667F3BCD)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (x,) = arguments
        words = words_of(x.type)
        bits, shift = builder.bitcast(x, words), constant(words, mantissa)
        exponent = builder.ashr(builder.sub(bits, constant(words, root)), shift)
        fraction = builder.sub(bits, builder.shl(exponent, shift))
        number = builder.sitofp(exponent, x.type)
        return context.make_tuple(
            builder, signature.return_type, [number, builder.bitcast(fraction, x.type)]
        )

    return types.UniTuple(x, 2)(x), generate


@intrinsic
def ordered(typing, x):
    """The whole number that sorts as x does; NaN above infinity, or below if its sign is minus."""
    width = 32 if x == types.float32 else 64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(width))
        # The order of the negative numbers is turned around.
        sign = builder.ashr(bits, bits.type(width - 1))
        return builder.xor(bits, builder.and_(sign, bits.type(2 ** (width - 1) - 1)))

    return (types.int32 if width == 32 else types.int64)(x), generate


# (exp(r) - 1) / r for |r| <= ln(2) / 2
_expm1_over_r = _polynomial(
    (1.0, 0.5000000014, 0.1666650396, 0.04166646339, 0.008369292165, 0.001393382049),
    (1.0, 0.500000000000000573, 0.166666666666666711, 0.041666666666571635,
     0.00833333333332602495, 0.00138888889330147175, 0.000198412698752050768,
     0.0000248015036808563837, 2.7557254913486702e-6, 2.76266339902931437e-7,
     2.51054191920163364e-8),
)  # fmt: skip

# log((1 + s) / (1 - s)) / s as a function of s^2 <= 1/9
_twice_atanh_over_s = _polynomial(
    (2.0, 0.6666632164, 0.4002459523, 0.2796515775, 0.2815777836),
    (2.0, 0.666666666666825743, 0.399999999952876, 0.285714291116571602, 0.22222190861346284,
     0.18182859800473911, 0.153636762488916343, 0.135913054855798938, 0.0988078904876478624,
     0.177807638261133029),
)  # fmt: skip

# (x + 3) exp(x^2) erfc(x) as a function of t = (x - 3) / (x + 3), x up to where exp(-x^2) is 0
_scaled_tail = _polynomial(
    (1.074006907, -0.8833944584, 0.5902283729, -0.3104667485, 0.1195276525, -0.02683525372,
     -0.001217017966, 0.003074606234, -0.0005027785232, -0.0003350145625),
    (1.07400690708833976, -0.883394453169882423, 0.590228357104082922, -0.310467261900687971,
     0.119527761288235521, -0.0268272346208322159, -0.00121241664541681834,
     0.00303406194921836044, -0.000548309514609347124, -0.000276777428522739191,
     0.000107560503256006942, 0.0000303960958583861876, -0.0000174672781158630752,
     -4.74266441831173539e-6, 2.7587257190432905e-6, 9.85419763401139994e-7,
     -4.00193735239703926e-7, -2.15982693338910261e-7, 4.18249159249375057e-8,
     3.69850065375707762e-8, -1.10576990729531204e-9, -2.88590775421209971e-9),
)  # fmt: skip


@exact
def exp_parts(x):
    """2^n and q with exp(x) = 2^n (1 + q), for x <= 0; from `lowest_exponent` down they stay."""
    lowest = lowest_exponent(x)
    clamped = select(x < lowest, lowest, x)
    n = nearest(clamped * like(x, LOG2_E))
    r = fused(n, like(x, -LN2_LOW), fused(n, like(x, -LN2_HIGH), clamped))
    return power_of_two(n), r * _expm1_over_r(r)


@exact
def exp(x):
    """e^x for x <= 0; 0 where that is no normal number."""
    scale, q = exp_parts(x)
    return select(x < lowest_exponent(x), like(x, 0.0), fused(scale, q, scale))


@exact
def expm1(x):
    """e^x - 1 for x <= 0, without cancellation near 0."""
    scale, q = exp_parts(x)
    return fused(scale, q, scale - like(x, 1.0))


@exact
def log1p(x):
    """log(1 + x) for x in [0, 1]: 2 atanh(s) with s = x / (2 + x)."""
    s = x / (like(x, 2.0) + x)
    return s * _twice_atanh_over_s(s * s)


@exact
def log(x):
    """log x for a normal x > 0: n ln 2 + 2 atanh(s) with x = 2^n m, s = (m - 1) / (m + 1)."""
    n, m = split(x)
    s = (m - like(x, 1.0)) / (m + like(x, 1.0))
    low = fused(n, like(x, LN2_LOW), s * _twice_atanh_over_s(s * s))
    # NaN has bits too, which `split` takes for a number's.
    return select(x == x, fused(n, like(x, LN2_HIGH), low), x)


@exact
def tanh(x):
    """-e / (2 + e) with e = exp(-2 |x|) - 1, and the sign of x."""
    e = expm1(like(x, -2.0) * magnitude(x))
    y = e / (like(x, 2.0) + e)
    return select(x < like(x, 0.0), y, -y)


@exact
def sigmoid_sides(z):
    """sigma(z) and sigma(-z), each to full relative precision."""
    e = exp(-magnitude(z))
    large = like(z, 1.0) / (like(z, 1.0) + e)
    small, left = e * large, z < like(z, 0.0)
    return select(left, small, large), select(left, large, small)


@exact
def normal(x):
    """The normal distribution function Phi(x) and its density, for finite x."""
    half = like(x, 0.5)
    distance = magnitude(x) * like(x, math.sqrt(0.5))
    e = exp(-half * x * x)
    inverse = like(x, 1.0) / (distance + like(x, 3.0))
    tail = half * e * inverse * _scaled_tail(fused(like(x, -6.0), inverse, like(x, 1.0)))
    phi = select(x < like(x, 0.0), tail, like(x, 1.0) - tail)
    return phi, e * like(x, 1.0 / math.sqrt(2.0 * math.pi))


@exact
def signed(size, x):
    """Give size sign(x); NaN where x is NaN or infinite, which a sign alone would hide."""
    zero = like(x, 0.0)
    return select(x > zero, size, select(x < zero, -size, zero)) + zero * x


@exact
def clamp(z, low, high):
    """min(max(z, low), high), which lets NaN through."""
    z = select(z < like(z, low), like(z, low), z)
    return select(z > like(z, high), like(z, high), z)


@exact
def copy(source, target):
    """Target becomes source, from which every loop goes on in place.

    A loop over two arrays that may be one gets a test for overlap from LLVM, which leaves the
    vectors if there is any; a loop over one array needs none.
    """
    if address(source) != address(target):
        for i in range(source.shape[0]):
            target[i] = source[i]


@exact
def add(target, other):
    """Target += other; both (size,), without overlap."""
    for i in range(target.shape[0]):
        target[i] += other[i]


SOUND = 2.0**-90
"""Of up to 4096 squares in float32, those that count as 0, being below 2^-126, are then less than
2^-24 of their sum."""


@inner
def is_sound(values, total):
    """Whether a sum of squares of some values, in their own type, lost nothing to its bounds."""
    return values.itemsize > 4 or SOUND < total < np.inf
