"""Annotations in the formats of others, read and written.

What others call:

    voc.parse_voc(data, file="") -> VocAnnotation(boxes, problems, filename, width, height, tags)
    voc.render_voc(picture, boxes, filename=...) -> bytes                              user form, fractions kept
    voc.render_voc_input(picture, boxes, asset_path=..., class_names=...) -> bytes     /in form, integers
    ark.parse_ark(text, class_names=...) -> tuple[Box, ...]
    ark.render_ark(boxes, class_names=..., width=..., height=...) -> str
    coco.parse_coco(data) -> CocoFile(class_names, images{file_name: CocoImage(width, height, boxes, problems)})
    coco.write_coco(stream, pictures, class_names=..., form="input" | "user", names=...)
    yolo.parse_yolo_labels(text, class_names=..., width=..., height=...) -> (boxes, problems)
    yolo.render_yolo_labels(boxes, class_names=..., width=..., height=...) -> str
    yolo.parse_yolo_dataset(text) -> YoloDataset(class_names, splits)      yolo.render_yolo_dataset(dataset) -> str
    frame.fit_to_frame(boxes, width=..., height=...) -> (boxes, problems)
    frame.upright_box(box, orientation=..., width=..., height=...) -> Box
"""
