"""Annotations in the formats of others: VOC, COCO, YOLO and ark, read and written."""
