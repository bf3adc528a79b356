"""The compiled inner loops are register tiles: as many FMAs as accumulators, all in registers."""

import functools
import importlib.util
import itertools
import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from helpers import BUILT, UNSANITIZED

REGISTERS = {"v4": "zmm", "v3": "ymm", "v2": "xmm"}
VECTORS = {"v4": 4, "v3": 2, "v2": 2}  # of a tile of a layer, in each of its six rows
# Rows and vectors of a tile of Y of a plane, and taps of a column that are in registers.
TILE = {"v4": (6, 3, 9), "v3": (4, 2, 5), "v2": (4, 2, 5)}
# Columns of a tile of dW by its rows.
TAPS = {"v4": (5, 5, 5, 5, 5, 3, 3), "v3": (3, 3, 3, 3, 2), "v2": (3, 3, 3, 3, 2)}
LEVELS = [level for level in BUILT if level in REGISTERS]
pytestmark = [
    UNSANITIZED,
    pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump"),
]


class Instruction(NamedTuple):
    """A line of a listing."""

    address: int
    name: str
    operands: str


@functools.cache
def functions(element, level, kind="planar"):
    """Instructions of each function of a module."""
    module = f"_{kind}_{element}_{level}"
    origin = importlib.util.find_spec(f"conv2d.{module}").origin
    command = ["objdump", "-d", "--no-show-raw-insn", origin]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, lines = {}, []
    for line in listing.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            name = match[1].split(f"{module}_")[-1].split(".")[0]
            lines = found.setdefault(name, [])
        elif match := re.match(r" *([0-9a-f]+):\t(\S+) *(.*)", line):
            lines.append(Instruction(int(match[1], 16), match[2], match[3]))
    return found


def inner_loops(instructions):
    """The bodies of loops that hold no other loop, between a jump backwards and where it goes.

    A loop may jump back from two places, and to two: what overlaps is one.
    """
    spans = [
        (int(i.operands.split()[0], 16), i.address)
        for i in instructions
        if i.name[0] == "j" and re.match(r"[0-9a-f]+ <", i.operands)
    ]
    loops = {(first, last) for first, last in spans if first <= last}
    for (a, b), (c, d) in itertools.product(sorted(loops), repeat=2):
        if a < c <= b < d and {(a, b), (c, d)} <= loops:
            loops = loops - {(a, b), (c, d)} | {(a, d)}
    for first, last in loops:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in loops):
            yield [i for i in instructions if first <= i.address <= last]


def products(instructions, element, level):
    """Multiplications of whole vectors, with the addition in the same instruction or in another."""
    kind = {"f32": "s", "f64": "d"}[element]
    name = rf"mulp{kind}" if level == "v2" else rf"vfmadd\d+p{kind}"
    wide = [i for i in instructions if REGISTERS[level] in i.operands]
    if level == "v2":
        sums = sum(i.name == f"addp{kind}" for i in wide)
        assert sums >= sum(i.name == name for i in wide)
    return sum(re.fullmatch(name, i.name) is not None for i in wide)


def on_stack(instructions, level, whole=None):
    """Whole vectors that are read from the stack or written there.

    rbp leads there where the function, all of it in `whole`, sets it so; else it is as good as any.
    """
    framed = any(i.operands == "%rsp,%rbp" for i in whole or instructions)
    place = re.compile(r"\(%r[sb]p" if framed else r"\(%rsp")
    return sum(
        REGISTERS[level] in i.operands and place.search(i.operands) is not None
        for i in instructions
    )


def hot_loops(name, element, level, kind="planar"):
    """Products of a function, and of its inner loops; and the vectors these have on the stack."""
    whole = functions(element, level, kind)[name]
    loops = [loop for loop in inner_loops(whole) if products(loop, element, level)]
    counts = [(products(loop, element, level), on_stack(loop, level, whole)) for loop in loops]
    return products(whole, element, level), counts


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("name", ["tiles_1", "tiles_2", "tiles_3", "tiles_apart"])
@pytest.mark.parametrize("rows", ["", "odd_"])
def test_tiles_of_y(rows, name, element, level):
    """All products are in inner loops, over the filter's columns, one for each number of its rows.

    Nothing goes to the stack there, but for a few vectors where rows are looked up; on v2, whose
    products take a register more than there are, each product takes its tap from there.
    """
    tile_rows, vectors, taps = TILE[level]
    vectors = {"tiles_1": 1, "tiles_3": vectors}.get(name, 2)
    total, loops = hot_loops(rows + name, element, level)
    counts = [count for count, _ in loops]
    each = [tile_rows * vectors * a for a in range(1, taps + 1)]
    assert set(each) <= set(counts)
    without = 6 * 9 * vectors if level == "v4" else 0  # 3 x 3 taps at once
    assert total <= sum(counts) + without + (4 if name == "tiles_1" else 0)
    for count in each:  # gcc 12 moves some of the 3 x 3, in a loop that has as many products
        stack = min(stack for products, stack in loops if products == count)
        assert stack <= (count if level == "v2" else 3 if rows else 0)


@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("name", ["nine_tiles", "nine_tiles_apart"])
def test_tiles_of_nine(name, element):
    """Each tap stays in a register, for two vectors of each of six rows."""
    whole = functions(element, "v4")[name]
    assert products(whole, element, "v4") == 9 * 6 * 2
    assert on_stack(whole, "v4") == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_tiles_of_dw(element, level):
    """Each function has one inner loop, of a product for each tap and row of a step.

    It needs no stack, but where 12 sums leave no register of 16 to move anything through.
    """
    for p, columns in enumerate(TAPS[level], start=1):
        for q in range(1, columns + 1):
            total, loops = hot_loops(f"taps_{p}x{q}", element, level)
            rows = (8 if p * q < 25 else 4) if level == "v4" else 4 if p <= 3 else 3
            assert [count for count, _ in loops] == [total] == [rows * p * q]
            assert loops[0][1] <= (6 if level != "v4" and p * q == 12 else 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_low_tiles_of_dw(element, level):
    """The same with fewer rows of Y a step, where tall tiles do not have as few anyway."""
    for p in (3, 4, 5) if level == "v4" else (3,):
        for q in range(1, TAPS[level][p - 1] + 1):
            total, loops = hot_loops(f"low_taps_{p}x{q}", element, level)
            assert [count for count, _ in loops] == [total] == [3 * p * q]
            assert loops[0][1] == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_edges_of_dw(element, level):
    """The tiles of square filters with masks, of which gcc 12 keeps some on the stack."""
    for side in 3, 5:
        if side > TAPS[level][side - 1]:
            continue
        rows = 8 if level == "v4" and side == 3 else 4
        for name, count in ((f"edge_{side}x{side}", rows), (f"low_edge_{side}x{side}", 3)):
            total, loops = hot_loops(name, element, level)
            assert [products for products, _ in loops] == [total] == [count * side * side]
            assert loops[0][1] <= (count + side - 1) * side + count


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_rows_of_taps(element, level):
    for rows, taps in (*((i, 2) for i in range(1, 7)), *((i, 3) for i in range(1, 5))):
        total, loops = hot_loops(f"row_products_{rows}x{taps}", element, level, "layer")
        assert total % (rows * taps) == 0
        assert (rows * taps, 0) in loops


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("images", [1, 4])
def test_dots(images, element, level):
    """One loop, with a product for each sum of a tile."""
    vectors = min(images, VECTORS[level])
    total, loops = hot_loops(f"dots_6x{images}", element, level, "layer")
    assert loops == [(6 * vectors, 0)]
    assert total == 6 * vectors


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("name", ["tile", "products"])
def test_tiles_of_layers(name, element, level):
    """Of every size that the level uses: a product for each accumulator, nothing on the stack.

    On v2, whose products take a register more, gcc 12 moves a vector in the largest.
    """
    for rows, vectors in itertools.product(range(1, 7), range(1, VECTORS[level] + 1)):
        total, loops = hot_loops(f"{name}_{rows}x{vectors}", element, level, "layer")
        assert loops, (rows, vectors)
        assert sum(count for count, _ in loops) == total
        assert max(count for count, _ in loops) >= rows * vectors
        assert all(count % (rows * vectors) == 0 for count, _ in loops)
        assert max(stack for _, stack in loops) <= (level == "v2")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_taps_of_lanes(element, level):
    for count in range(1, 10):
        total, loops = hot_loops(f"taps_of_{count}", element, level, "layer")
        assert loops, count
        assert sum(products for products, _ in loops) == total
        assert all(products % count == 0 for products, _ in loops)
        assert max(stack for _, stack in loops) <= (level == "v2")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize(
    "taps", ["1", "2", "3", "5", "7", "2_apart", "3_apart", "5_apart", "7_apart"]
)
def test_runs_of_lanes(element, level, taps):
    """A product for each column and tap of one or more rows; nothing on the stack."""
    for columns in 1, 2, 4, 7:
        whole = functions(element, level, "layer")[f"run_{columns}_of_{taps}"]
        made, rest = divmod(products(whole, element, level), columns * int(taps[0]))
        assert made >= 1
        assert rest == 0
        assert on_stack(whole, level) == 0


@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize(("side", "vectors"), [(5, 1), (5, 4), (7, 1), (7, 3)])
def test_large_walks(element, side, vectors):
    """All products for each of one or more rows of two turns; nothing on the stack."""
    whole = functions(element, "v4", "layer")[f"walk_{side}_{vectors}"]
    rows, rest = divmod(products(whole, element, "v4"), side * side * vectors)
    assert 1 <= rows <= 2 * side
    assert rest == 0
    assert on_stack(whole, "v4") == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("name", ["any", "any_apart", "spread_any"])
def test_strips_of_any(name, element, level):
    """Sums stay in registers."""
    for vectors in range(1, VECTORS[level] // (2 if name == "spread_any" else 1) + 1):
        whole = functions(element, level, "layer")[f"{name}_{vectors}"]
        assert products(whole, element, level) >= 5 * vectors
        assert on_stack(whole, level) == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("element", ["f32", "f64"])
@pytest.mark.parametrize("kind", ["planar", "layer"])
def test_no_wider_than_the_level(kind, element, level):
    """A module that is chosen for a CPU has no instruction of a better one."""
    wider = {"v4": (), "v3": ("zmm",), "v2": ("zmm", "ymm")}[level]
    for name, instructions in functions(element, level, kind).items():
        for instruction in instructions:
            assert not any(w in instruction.operands for w in wider), (name, instruction)
