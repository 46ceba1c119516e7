"""Images and label files that tests write, and boxes that they compare."""

from xml.sax.saxutils import escape

from PIL import Image


def save_image(path, size=(40, 30), orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def boxes(content):
    """Boxes of each image as {file name: [(class, *box)]}."""
    names = {x["id"]: x["name"] for x in content["categories"]}
    found = {x["id"]: (x["file_name"], []) for x in content["images"]}
    for x in content["annotations"]:
        found[x["image_id"]][1].append((names[x["category_id"]], *x["bbox"]))
    return dict(found.values())


def xml(*objects, size=(40, 30), filename="a.jpg"):
    """A VOC file; an object is (name, xmin, ymin, xmax, ymax)."""
    items = [f"<annotation><filename>{filename}</filename>"]
    if size:
        items.append(f"<size><width>{size[0]}</width><height>{size[1]}</height></size>")
    for name, *box in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        items.append(f"<object><name>{escape(name)}</name><bndbox>{corners}</bndbox></object>")
    return "".join(items) + "</annotation>"
