"""The README's picture, from a chapter's cover: ``python -m book.tools.picture denoising/foundations``."""

import argparse
import base64
import io

from PIL import Image

from book.tools.chapters import ROOT, paths, read
from book.tools.pages import cover

TARGET = ROOT / "book" / "_static" / "readme.webp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter")
    (path,) = paths(parser.parse_args().chapter)
    output = cover(read(path))
    if output is None:
        parser.error(f"{path} stores no picture in a cell tagged 'cover'")
    Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB").save(TARGET, quality=70, method=6)
    print(TARGET, TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
