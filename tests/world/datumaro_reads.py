"""What Datumaro reads in a folder: run by its own interpreter, since it pins what it needs.

python datumaro_reads.py FORMAT FOLDER      prints {picture's stem: [[class, x, y, w, h], …]} as JSON
"""

import json
import sys

from datumaro import AnnotationType, Dataset


def main(form: str, folder: str) -> None:
    """Prints every box that Datumaro sees."""
    dataset = Dataset.import_from(folder, form)
    categories = dataset.categories()[AnnotationType.label]
    found: dict[str, list[list[object]]] = {}
    for item in dataset:
        boxes = [
            [categories[one.label].name, *map(float, one.get_bbox())]
            for one in item.annotations
            if one.type == AnnotationType.bbox
        ]
        found.setdefault(item.id, []).extend(boxes)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
