"""Wrong outputs that a comparison must see: name -> (reference, candidate), each a mapping of outputs."""

import ml_dtypes
import numpy as np

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 5, (4, 8, 50)).astype(np.float32)
IMAGE = RANDOM.uniform(0, 255, (1, 3, 16, 16)).astype(np.float32)
PROBABILITIES = (np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)).astype(np.float32)
DETECTIONS = np.concatenate([RANDOM.uniform(0, 640, (1, 4, 200)), RANDOM.uniform(0, 1, (1, 20, 200)) ** 3], 1).astype(
    np.float32
)


def of(reference, edit):
    candidate = reference.copy()
    made = edit(candidate)
    return {"y": reference}, {"y": candidate if made is None else made}


def masked(value, share=0.6, logits=LOGITS):
    array = logits.copy()
    array[..., int(50 * (1 - share)) :] = np.float32(value)
    return array


def off(value, by, share=0.6):
    def edit(array):
        array[..., : int(50 * (1 - share))] += np.float32(by)

    return of(masked(value, share), edit)


def put(index, value):
    def edit(array):
        array[index] = value

    return edit


def put_all(value):
    def edit(array):
        array[...] = value

    return edit


ATTACKS = {
    "logits off by 3 beside finfo.min": off(np.finfo(np.float32).min, 3.0),
    "logits off by 3 beside -1e9": off(-1e9, 3.0),
    "logits off by 3 beside -1e6": off(-1e6, 3.0),
    "logits off by 3 beside -1e4": off(-1e4, 3.0),
    "logits off by 0.001 beside -1e9": off(-1e9, 1e-3),
    "one logit left, the others masked": off(-1e9, 3.0, share=0.98),
    "a few masked": off(-1e9, 0.01, share=0.04),
    "logits off beside -inf": off(-np.inf, 1e-3),
    "a mask that is lifted": of(masked(-1e9), put((0, 0, 49), 1.0)),
    "a mask in a new place": of(masked(-1e9), put((0, 0, 0), -1e9)),
    "-1e9 instead of -inf": of(masked(-np.inf), lambda array: np.where(np.isinf(array), np.float32(-1e9), array)),
    "the sign of an infinity": of(masked(np.inf), put((0, 0, 49), -np.inf)),
    "a NaN": of(LOGITS, put((1, 2, 3), np.nan)),
    "NaN on both sides": of(np.where(LOGITS > 9, np.float32(np.nan), LOGITS), lambda array: None),
    "zeros": of(LOGITS, put_all(0)),
    "a scale of 1.001": of(LOGITS, lambda array: array * np.float32(1.001)),
    "a shift of a thousandth": of(LOGITS, lambda array: array + np.float32(0.005)),
    "the sign": of(LOGITS, lambda array: -array),
    "two rows exchanged": of(LOGITS, lambda array: array[::-1].copy()),
    "two classes exchanged": of(LOGITS, lambda array: array[..., [1, 0, *range(2, 50)]].copy()),
    "transposed in place": of(IMAGE, lambda array: array.swapaxes(2, 3).copy()),
    "one pixel off by 0.5": of(IMAGE, put((0, 1, 2, 3), IMAGE[0, 1, 2, 3] + np.float32(0.5))),
    "one channel zero": of(IMAGE, put((0, 1), 0)),
    "scores off by 0.001 beside boxes": of(DETECTIONS, lambda array: np.r_["1", array[:, :4], array[:, 4:] + 1e-3]),
    "a box off by 0.1": of(DETECTIONS, put((0, 2, 9), DETECTIONS[0, 2, 9] + np.float32(0.1))),
    "probabilities all equal": of(PROBABILITIES, put_all(0.02)),
    "probabilities in float16": of(PROBABILITIES, lambda array: array.astype(np.float16).astype(np.float32)),
    "small outputs scaled by 1.1": of(LOGITS * np.float32(1e-4), lambda array: array * np.float32(1.1)),
    "rounded to bfloat16": of(LOGITS, lambda array: array.astype(ml_dtypes.bfloat16).astype(np.float32)),
    "another dtype": of(LOGITS, lambda array: array.astype(np.float64)),
    "another shape": of(LOGITS, lambda array: array.reshape(8, 4, 50)),
    "a broadcast": of(LOGITS[:, :1], lambda array: np.repeat(array, 8, 1)),
    "a label off by one": of(LOGITS.argmax(-1), put((0, 0), 51)),
    "a flag": of(LOGITS > 0, put((0, 0, 0), not LOGITS[0, 0, 0] > 0)),
    "an output dropped": ({"y": LOGITS, "z": LOGITS}, {"y": LOGITS}),
    "an output added": ({"y": LOGITS}, {"y": LOGITS, "z": LOGITS}),
    "an output renamed": ({"y": LOGITS}, {"x": LOGITS}),
    "outputs exchanged": ({"y": LOGITS, "z": LOGITS + 1}, {"z": LOGITS + 1, "y": LOGITS}),
    "an outlier that hides the others": of(
        np.append(LOGITS.ravel(), np.float32(1e8)), lambda array: np.append(array[:-1] + np.float32(0.1), array[-1:])
    ),
    "a chain of outliers": of(
        np.append(LOGITS.ravel(), np.float32([1e3, 2e4, 6e5, 9e6])),
        lambda array: np.append(array[:-4] + np.float32(0.01), array[-4:]),
    ),
    "nothing but zeros to compare": of(np.zeros((3, 4), np.float32), lambda array: None),
}
