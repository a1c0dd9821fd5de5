"""Images are brought to one size once, uncropped where square, centred where not; files that are none are named."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from harness.config import ConfigError
from harness.task import ImageSplit, image_inputs
from harness.task.images import Rendering, opaque, open_picture
from harness.task.pictures import look_at, told_of, values_of


def split_of(images, labels=None):
    labels = np.zeros(len(images), dtype=np.int64) if labels is None else labels
    return ImageSplit(images, labels, tuple(str(number) for number in range(len(images))))


def test_a_batch_holds_the_images_of_its_rows(own_cache):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    inputs = image_inputs(split_of(images, np.array([4, 3, 2, 1, 0])), 8)
    batch = inputs.batch([3, 1])
    assert batch["images"].shape == (2, 1, 8, 8)
    assert np.array_equal(batch["images"][:, 0].numpy(), images[[3, 1]])
    assert batch["labels"].tolist() == [1, 3]
    assert batch["rows"].tolist() == [3, 1]
    assert len(inputs) == 5
    assert inputs.lengths.tolist() == [1] * 5
    assert inputs[3] == 3


def test_colours_come_channels_first_and_are_resized(own_cache):
    image = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    image[..., 0], image[..., 2] = 200, 40
    batch = image_inputs(split_of(image), 16).batch([0])
    assert batch["images"].shape == (1, 3, 16, 16)
    assert [channel.unique().tolist() for channel in batch["images"][0]] == [[200], [0], [40]]


def test_a_long_image_is_cropped_to_its_middle_and_grey_or_paletted_files_become_colours(own_cache, tmp_path):
    pixels = np.zeros((10, 30), dtype=np.uint8)
    pixels[:, 10:20] = 250
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.gif")
    batch = image_inputs(split_of((tmp_path / "grey.png", tmp_path / "palette.gif")), 10).batch([0, 1])
    assert batch["images"].shape == (2, 3, 10, 10)
    assert batch["images"].unique().tolist() == [250]


def test_images_are_resized_once_and_labels_are_not_cached(own_cache, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    first = image_inputs(split_of(images), 12)
    monkeypatch.setattr("harness.task.images._fit", lambda *_: pytest.fail("resized twice"))
    again = image_inputs(split_of(images, np.arange(5)), 12)
    assert np.array_equal(first.images, again.images)
    assert again.batch([4])["labels"].tolist() == [4]


def test_a_file_that_is_no_image_is_named(own_cache, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match=r"broken\.png is no image"):
        image_inputs(split_of((tmp_path / "broken.png",)), 8)
    assert not list(own_cache.rglob("*.npy"))


def grey_tiff(values):
    """An uncompressed TIFF of integers (H, W), which Pillow writes of few types."""
    high, wide = values.shape
    sample = 2 if values.dtype.kind == "i" else 1
    fields = (
        *((256, wide), (257, high), (258, 8 * values.itemsize), (259, 1), (262, 1), (273, 134), (277, 1)),
        *((278, high), (279, values.nbytes), (339, sample)),
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + bytes(4) + values.tobytes()


def saved(values, kind):
    """An array as an image file of this kind."""
    if kind == "PGM":
        return b"P5 %d %d %d\n" % (*values.shape[::-1], values.max()) + values.astype(">u2").tobytes()
    return held(Image.fromarray(values), kind) if values.dtype.kind == "f" else grey_tiff(values)


LEVELS = np.random.default_rng(0).integers(0, 1024, (8, 8))
LEVELS[0] = (0, 1023, *range(6))
DEEP = [
    ("floats", LEVELS.astype(np.float32) / 1023, "TIFF", [0.0, 1.0]),
    ("floats with signs, clipped", LEVELS.astype(np.float32) - 512, "TIFF", [-100.0, 300.0]),
    ("32 bits", LEVELS.astype("<i4") * 2_000_000, "TIFF", [0.0, 2.1e9]),
    ("32 bits without a sign", LEVELS.astype("<u4") * 4_000_000, "TIFF", [0.0, 4.1e9]),
    ("16 bits with a sign", LEVELS.astype("<i2") - 512, "TIFF", [-512.0, 511.0]),
    ("16 bits", LEVELS.astype("<u2"), "TIFF", None),
    ("16 bits of which 10 are used", LEVELS.astype("<u2"), "TIFF", [0.0, 1023.0]),
    ("10 bits", LEVELS.astype("<u2"), "PGM", None),
]


@pytest.mark.parametrize(("values", "kind", "span"), [case[1:] for case in DEEP], ids=[case[0] for case in DEEP])
def test_values_of_more_than_8_bits_are_scaled_from_black_to_white(own_cache, values, kind, span):
    black, white = span or ((0, 65535) if kind == "TIFF" else (0, values.max()))
    wanted = np.clip((values.astype(float) - black) / (white - black), 0, 1) * 255
    file = saved(values, kind)
    split = ImageSplit((file,), np.zeros(1, int), ("a",), (), Rendering(range=span))
    seen = image_inputs(split, 8).batch([0])["images"][0].numpy()
    assert np.abs(seen - wanted).max() <= 0.5 + 1e-3
    (looked,) = look_at([file], Rendering(range=span))
    if kind == "TIFF":
        assert (looked.lowest, looked.highest) == pytest.approx((values.min(), values.max()))
    other = look_at([file], Rendering(range=[-1.0, 1.0]))[0]
    assert (other.file, other.pixels) != (looked.file, looked.pixels), "other data"


def test_where_black_and_white_are_unknown_the_values_and_the_key_are_told(own_cache, tmp_path):
    floats = [saved(np.float32([[low, 0.5]]), "TIFF") for low in (-0.25, 0.25)]
    plain = held(Image.new("L", (2, 1), 3))
    looked = look_at([*floats, plain])
    assert [each.problem.partition(":")[0] for each in looked] == ["has floats, 32 bits or signs"] * 2 + [""]
    assert looked[0].problem == looked[1].problem
    assert "task.range=[BLACK,WHITE]" in looked[0].problem
    assert "the lowest and the highest are [-0.25,0.5]" in looked[0].problem
    holes = look_at([saved(np.float32([[np.nan, 0.5]]), "TIFF")], Rendering(range=[0.0, 1.0]))
    assert holes[0].problem == "has values that are no numbers (NaN, or infinite)"
    assert look_at([plain])[0].file == look_at([plain], Rendering(range=[0.0, 1.0]))[0].file, "of 8 bits"


SPANS = [
    ("beyond white", [2.0, 200.0], [0.0, 1.0], "makes it all white"),
    ("below black", [-1.0, 0.0], [0.0, 1.0], "makes it all black"),
    ("of floats, as if of 8 bits", [0.0, 0.4], [0.0, 255.0], "makes it all black"),
    ("a small part of it", [100.0, 100.4], [0.0, 255.0], "makes it all of one grey"),
    ("two greys", [0.0, 0.6], [0.0, 255.0], ""),
    ("of one value", [3.0, 3.0], [0.0, 1.0], ""),
    ("windowed", [-1000.0, 3000.0], [-160.0, 240.0], ""),
]


@pytest.mark.parametrize(("values", "span", "said"), [case[1:] for case in SPANS], ids=[case[0] for case in SPANS])
def test_a_range_that_makes_one_grey_of_a_picture_is_named_before_copies_are(own_cache, values, span, said):
    (looked,) = look_at([saved(np.float32([values] * 8), "TIFF")], Rendering(range=span))
    lowest, highest = min(values), max(values)
    named = f"task.range=[{span[0]:g},{span[1]:g}] {said}: the lowest and the highest are [{lowest:g},{highest:g}]"
    assert looked.problem == (named if said else "")


def grey(top, seed=0, kind="PNG"):
    values = np.sort(np.random.default_rng(seed).integers(0, top + 1, 1024)).reshape(32, 32)
    values[-1, -1] = top
    return saved(values.astype("<u2"), kind) if top > 255 else held(Image.fromarray(values.astype(np.uint8)))


BY_CLASS = ["0 of 4 of 'a', 4 of 4 of 'b' (", "4 of 4 of 'a', 0 of 4 of 'b' ("]
BESIDE = "have more than 8 bits, the others 8"
WHITE = "mostly white, or all but black (task.range)"
TWELVE = "levels of 12 bits, and others those of 16; 65535 is white in all of them"


def few(white, levels):
    """What is told of eight files of 12 bits where little is left of them."""
    said = f"8 files have more than 8 bits, with values from 0 to 4095; 0 is black and {white} white in all of them"
    return f"{said}, and {levels} of 256 levels are left (task.range=[0,4095]) ("


DEPTHS = [
    ("8 bits", [255] * 8, None, []),
    ("16 bits", [65535] * 8, None, []),
    ("one dark picture of many", [65535] * 19 + [4000], None, []),
    ("8 bits beside 16, by class", [255, 65535] * 4, None, [f"4 of 8 files {BESIDE}: {BY_CLASS[0]}"]),
    ("8 bits beside 16", [255, 65535, 65535, 255] * 2, None, [f"4 of 8 files {BESIDE} ("]),
    ("12 bits beside 16, by class", [4095, 65535] * 4, None, [f"4 of 8 files have {TWELVE}: {BY_CLASS[1]}"]),
    ("12 bits", [4095] * 8, None, [few(65535, 17)]),
    ("12 bits in their range", [4095] * 8, [0.0, 4095.0], []),
    ("16 bits in the range of 12", [4095, 65535] * 4, [0.0, 4095.0], [f"4 of 8 files are {WHITE}: {BY_CLASS[0]}"]),
    ("a range that is too wide", [4095] * 8, [0.0, 200000.0], [few(200000, 6)]),
]  # fmt: skip


@pytest.mark.parametrize(("tops", "span", "told"), [case[1:] for case in DEPTHS], ids=[case[0] for case in DEPTHS])
def test_how_deep_pictures_are_is_told_where_it_differs_or_little_is_left(own_cache, tops, span, told):
    rendering = Rendering(range=span)
    looked = look_at([grey(top, seed) for seed, top in enumerate(tops)], rendering)
    named = [(f"{place}.png", each) for place, each in enumerate(looked)]
    said = told_of(named, rendering, ["ab"[place % 2] for place in range(len(tops))])
    assert [line[: len(wanted)] for line, wanted in zip(said, told, strict=True)] == told
    lines = told_of(named, rendering, key=False)
    assert not any("task.range=" in line for line in lines)
    assert bool(values_of(looked, rendering)) == (
        max(tops) > 255 and not any("levels are left" in each for each in told)
    )


def test_pictures_that_are_black_or_white_all_over_are_told(own_cache):
    plain = [held(Image.new("RGB", (9, 9), colour)) for colour in ("white", "black", "red")]
    specked = Image.new("L", (400, 400), 0)
    specked.putpixel((7, 7), 1)
    looked = look_at([*plain, held(specked), grey(255)])
    (said,) = told_of(list(zip("abcde", looked, strict=True)), Rendering())
    assert said == "2 pictures are all black or all white (a, b)"


def test_the_range_of_values_goes_from_black_to_white(compose_plain, tmp_path):
    words = "task=image_folder", f"task.data={tmp_path}", "model=efficientnet_lite0", "lora.targets=[conv]"
    assert compose_plain(*words, "task.range=[-1,1]").task.hashed() == compose_plain(*words).task.hashed()
    for wrong in ("[1,1]", "[1,0.5]"):
        with pytest.raises(ConfigError, match=r"task\.range=\[1,.*: the value that is black, then a higher one"):
            compose_plain(*words, f"task.range={wrong}")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data|Truncated File Read")
@pytest.mark.parametrize(("kind", "cuts"), [("GIF", range(293, 503)), ("TIFF", range(186, 274))])
def test_a_file_cut_off_in_its_second_frame_is_told_as_broken(own_cache, kind, cuts):
    """Pillow reads the first frame, and raises an error of its own when it counts them."""
    first, second = map(Image.fromarray, np.random.default_rng(0).integers(0, 255, (2, 8, 8), dtype=np.uint8))
    whole = io.BytesIO()
    first.save(whole, kind, save_all=True, append_images=[second])
    found = look_at([whole.getvalue(), *(whole.getvalue()[:cut] for cut in cuts[::5])])
    assert (found[0].frames, found[0].problem) == (2, "")
    broken = [each for each in found if each.problem]
    assert len(broken) > len(found) / 3
    assert all(each.problem.startswith("is no image that can be read") for each in broken)


def held(image, kind="PNG"):
    with io.BytesIO() as buffer:
        image.save(buffer, kind)
        return buffer.getvalue()


def glyph(colour, seed=0):
    """A colour that is seen where a mask says it, and nowhere else."""
    mask = (np.random.default_rng(seed).random((8, 8)) > 0.5).astype(np.uint8) * 255
    return Image.fromarray(np.dstack([np.full((8, 8, 3), colour, np.uint8), mask])), mask


def test_transparent_parts_are_laid_over_a_colour(own_cache, tmp_path):
    image, mask = glyph((200, 10, 30))
    image.save(tmp_path / "a.png")
    image.quantize(8).save(tmp_path / "a.gif", transparency=image.quantize(8).getpixel((0, 0)))
    for background, level in (("white", 255), ("black", 0)):
        split = ImageSplit((tmp_path / "a.png",), np.zeros(1, int), ("a",), (), Rendering(background))
        seen = image_inputs(split, 8).batch([0])["images"][0].numpy()
        wanted = np.where(mask[..., None] == 255, np.array([200, 10, 30]), level).transpose(2, 0, 1)
        assert np.array_equal(seen, wanted)
    half = np.full((4, 4, 4), [100, 200, 0, 128], np.uint8)
    laid = np.asarray(opaque(open_picture(held(Image.fromarray(half))), "white"))
    assert np.abs(laid.astype(float) - (half[..., :3].astype(float) * 128 / 255 + 255 * (1 - 128 / 255))).max() <= 1


def test_pictures_that_are_black_or_white_all_over_are_told_apart_by_what_is_transparent(own_cache):
    """Icons have all of their shape there; without it they would be one picture."""
    icons = [held(glyph((0, 0, 0), seed)[0]) for seed in range(4)]
    whole = held(Image.fromarray(np.zeros((8, 8, 4), np.uint8) + np.array([1, 2, 3, 255], np.uint8)))
    looked = look_at([*icons, whole, held(Image.new("RGB", (8, 8), (1, 2, 3)))])
    assert len({each.pixels for each in looked[:4]}) == 4
    assert [each.clear for each in looked] == [True] * 4 + [False] * 2
    assert looked[4].pixels == looked[5].pixels
    black = look_at(icons, Rendering("black"))
    assert all(one.file != other.file for one, other in zip(looked, black, strict=False)), "other data"


@pytest.mark.parametrize(("colour", "background"), [((255, 255, 255), "white"), ((0, 0, 0), "black")])
def test_a_picture_of_which_nothing_is_seen_is_refused_with_the_key(own_cache, colour, background):
    icon = held(glyph(colour)[0])
    other = {"white": "black", "black": "white"}[background]
    (looked,) = look_at([icon], Rendering(background))
    assert looked.problem.startswith(
        f"is blank where its transparent parts are laid over {background}; task.background={other}"
    )
    assert not look_at([icon], Rendering(other))[0].problem
