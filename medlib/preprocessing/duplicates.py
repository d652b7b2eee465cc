"""Finding pictures of the same thing: exact copies, and copies with a cut edge or drawn marks."""

from dataclasses import dataclass

import numpy as np

from medlib.preprocessing.geometry import resize_image

THUMBNAIL_SIDE = 32
HASH_SIDE = 8

# Found on 545 breast ultrasound images by looking at the pairs: up to these limits nearly all show
# one lesion, with and without callipers or slightly cropped, and both histograms have their valley
# there. In 5,856 chest X-rays, alike as chests are, the largest group they make holds 2 %.
HASH_DISTANCE = 20
CORRELATION = 0.85


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to recognise it by.

    Parameters
    ----------
    bits : int
        The 64-bit perceptual hash.
    thumbnail : ndarray of float32, shape (32, 32)
    """

    bits: int
    thumbnail: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Hash an image so that pictures that look alike have hashes that differ in few bits.

    Parameters
    ----------
    image : ndarray of float, shape (height, width, channels)

    Returns
    -------
    Fingerprint

    References
    ----------
    The hash known as pHash: Zauner C. Implementation and benchmarking of perceptual image hash
    functions. Diploma thesis, Upper Austria University of Applied Sciences, Hagenberg 2010.
    """
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float32)
    thumbnail = resize_image(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))[..., 0]
    return Fingerprint(perceptual_hash(thumbnail), thumbnail)


def perceptual_hash(thumbnail: np.ndarray) -> int:
    """Hash the coarse pattern of a small grey image into 64 bits.

    Each bit says whether the coefficient of one of the 8 x 8 slowest waves of the discrete cosine
    transform, with its sign, is greater than their median. Brightness (the constant wave) is left
    out. At most 31 of the 63 bits are 1, so that two hashes differ in at most 62.

    Parameters
    ----------
    thumbnail : ndarray of float, shape (side, side)

    Returns
    -------
    int
        Compare two of them by the number of different bits: ``(a ^ b).bit_count()``.
    """
    from scipy.fft import dctn

    waves = dctn(thumbnail, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    rounding = 1e-5 * float(np.abs(thumbnail).max())  # so that the bits of a flat image are 0
    bits = waves > np.median(waves) + rounding
    return int(sum(1 << place for place, bit in enumerate(bits) if bit))


def group_near_duplicates(fingerprints: list[Fingerprint]) -> np.ndarray:
    """Group images that look like copies of each other.

    Two images are near-duplicates when their hashes differ in at most 20 of 63 bits and their
    thumbnails, less what all thumbnails have in common, correlate with at least 0.85. What is
    common must go first: two chests correlate with 0.8 because both are chests. Copies of copies
    are in one group.

    Parameters
    ----------
    fingerprints : list of Fingerprint, n of them

    Returns
    -------
    ndarray of int64, shape (n,)
        The index of each image's group's first member: ``groups[i] == i`` for an image that has no
        earlier copy.

    Notes
    -----
    Images of different people that were aligned to one template, such as registered brain scans,
    look like copies of each other and are joined. Where it is known whose an image is, use that.
    """
    n = len(fingerprints)
    hashes = np.array([each.bits for each in fingerprints], dtype=np.uint64)
    patterns = _patterns(np.array([each.thumbnail for each in fingerprints], dtype=np.float32))
    pairs = []
    rows = max(1, 20_000_000 // max(1, n))  # bounds the memory of one step
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        distance = np.bitwise_count(hashes[start:stop, None] ^ hashes[None, start:])
        near = np.argwhere(distance <= HASH_DISTANCE)
        near = near[near[:, 0] < near[:, 1]]
        same = distance[near[:, 0], near[:, 1]] == 0
        near += start
        same |= _correlations(patterns, near) >= CORRELATION
        pairs.append(near[same])
    return _first_connected(n, np.concatenate(pairs))


def join_groups(*keys: np.ndarray) -> np.ndarray:
    """Join rows that share any of their keys: the same subject, or the same image, or both.

    Parameters
    ----------
    *keys : ndarray, shape (n,)

    Returns
    -------
    ndarray of int64, shape (n,)
        The index of the first row of each row's group.
    """
    pairs = []
    for key in keys:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        pairs.append(np.column_stack([np.arange(len(key)), first[inverse]]))
    return _first_connected(len(keys[0]), np.concatenate(pairs))


def _first_connected(n: int, pairs: np.ndarray) -> np.ndarray:
    """The smallest index that each of n things is connected with by pairs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component].astype(np.int64)


def _patterns(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors of what is special in each thumbnail, shape (n, pixels)."""
    pixels = thumbnails.reshape(len(thumbnails), -1)
    pixels = _unit(pixels - pixels.mean(axis=1, keepdims=True))
    n = len(pixels)
    common = pixels.mean(axis=0) * n / (n + 50)  # the mean of a few images is not "common" yet
    return _unit(pixels - common)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-6)


def _correlations(patterns: np.ndarray, pairs: np.ndarray, step: int = 20_000) -> np.ndarray:
    parts = [
        np.einsum("ij,ij->i", patterns[part[:, 0]], patterns[part[:, 1]])
        for part in np.array_split(pairs, max(1, len(pairs) // step))
    ]
    return np.concatenate(parts)
