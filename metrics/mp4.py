"""Write an mp4 while its frames come; the encoder works beside the caller."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

CRF = 16
"""H.264 quality, 0 to 51, lower is better: 16 shows no compression to the eye."""

AHEAD = 2
"""How many pieces wait for the encoder at most, so that memory does not grow with the length."""


class Mp4:
    """An mp4 that is being written.

    Args:
        path: the file.
        fps: frames a second, above 0.
        crf: quality, 0 to 51, lower is better.

    As a context manager it finishes the file; what was appended can be played after an error, too.
    """

    def __init__(self, path: Path, fps: float, crf: int = CRF) -> None:
        self._path = path
        self._fps = fps
        self._crf = crf
        self._frames = 0
        self._encoder: Generator[None, Any, None] | None = None
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def append(self, pixels: Any) -> None:
        """Add frames.

        Args:
            pixels: ``(frames, height, width, 3)``, bytes; all pieces have one size.

        Raises:
            OSError: the encoder has ended.
        """
        self._frames += len(pixels)
        self._waiting.append(self._thread.submit(self._send, _even(pixels)))
        while len(self._waiting) > AHEAD:
            self._waiting.popleft().result()

    def __enter__(self) -> "Mp4":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file.

        Raises:
            OSError: frames are missing in it.
        """
        self._thread.shutdown()
        if self._encoder is not None:
            self._encoder.close()
        if error is None:
            for sent in self._waiting:
                sent.result()
            _check(self._path, self._frames)

    def _send(self, pixels: Any) -> None:
        if self._encoder is None:
            self._encoder = _encoder(self._path, pixels.shape[2:0:-1], self._fps, self._crf)
        for frame in pixels:
            self._encoder.send(frame)


def _encoder(path: Path, size: tuple[int, int], fps: float, crf: int) -> Generator[None, Any, None]:
    from imageio_ffmpeg import write_frames

    encoder: Generator[None, Any, None] = write_frames(
        str(path), size, fps=fps, quality=None, codec="libx264", macro_block_size=1,
        output_params=["-crf", str(crf), "-movflags", "+faststart"],
    )  # fmt: skip
    encoder.send(None)
    return encoder


def _check(path: Path, frames: int) -> None:
    """Count the frames in the file: ffmpeg ends without an error that is seen here when a disk is full.

    Raises:
        OSError: some are missing.
    """
    found = frames_in(path)
    if found != frames:
        raise OSError(f"only {found} of {frames} frames could be written")


def frames_in(path: Path) -> int:
    """How many frames a file has; 0 for one that cannot be played."""
    from imageio_ffmpeg import count_frames_and_secs

    try:
        return int(count_frames_and_secs(path)[0])
    except RuntimeError:
        return 0


def _even(pixels: Any) -> Any:
    """Repeat the last line or column where a side is odd: yuv420p has one colour for two pixels."""
    import numpy as np

    _, height, width, _ = pixels.shape
    even = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(even)
