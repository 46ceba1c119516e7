"""Converts weights between tood_d2, the authors' code, MMDetection and torchvision.

    %(prog)s official.pth tood.pth            official code or MMDetection
    %(prog)s resnet101.pth backbone.pth       torchvision ResNet or ResNeXt
    %(prog)s torchvision://resnet101 backbone.pth
    %(prog)s model_final.pth official.pth --to official

Files are torch.save's or, by the ending .safetensors, safetensors.
"""

import argparse

from tood_d2.cli.messages import short_errors


def run(args: argparse.Namespace) -> None:
    from detectron2.utils.file_io import PathManager
    from tood_d2 import checkpoint
    from tood_d2.cli.outputs import check_outputs
    from tood_d2.config import load_run

    check_outputs([args.output], [args.input, *filter(None, [args.config_file])])
    content = checkpoint.read_checkpoint(PathManager.get_local_path(args.input))
    state_dict = checkpoint.recognize(checkpoint.find_state_dict(content))
    class_names = checkpoint.find_class_names(content)
    if args.config_file:
        model = load_run(args.config_file).build_model()
        model.load_state_dict(state_dict, strict=True)  # its error names the parameters
    if args.to != "tood_d2":
        state_dict = checkpoint.convert_to_official_state_dict(state_dict, args.to)
    checkpoint.save_weights(state_dict, args.output, class_names, official=args.to != "tood_d2")
    print(f"wrote {args.output}: {len(state_dict)} tensors")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("input", help="file, or name of weights such as torchvision://resnet101")
    add("output", help="file to write")
    add("--to", choices=("tood_d2", "official", "mmdet"), default="tood_d2")
    add("--config-file", help="check that the weights fit this config's model, to the last one")
    args = parser.parse_args()
    with short_errors(f"{parser.prog}: {args.input}"):
        run(args)
    return 0
