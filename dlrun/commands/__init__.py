"""One file a verb, thin: parse, call, print."""

VERBS = {
    "train": "train one run, or a sweep with -m",
    "resume": "go on with a run that was cut off, at the exact step",
    "ls": "list runs: status, method, data set, key metric",
    "compare": "runs or a sweep side by side: what differs, figures, seeds, paired tests",
    "plot": "curves of runs or a sweep with seed bands, in the terminal or as PNG or HTML",
    "leaderboard": "the best config of each method on a data set, chosen on val",
    "show": "one run in detail: figures, pictures, config",
    "report": "one HTML file of a run or a sweep: curves, figures, pictures, provenance",
    "evaluate": "every metric of a run, on its own data set or another",
    "predict": "classify images: files, folders, patterns",
    "sample": "images of nothing, of a generative run",
    "reconstruct": "images beside what the model gives back of them",
    "interpolate": "from one image to another by way of codes",
    "traverse": "what each number of a code does",
    "translate": "a folder of images into the other domain",
    "export": "files for other programs: safetensors, torchvision, ONNX, torch.export",
    "rm": "delete runs, by name or filter; asks first",
    "gc": "free room: failed and empty runs, old checkpoints; asks first",
    "doctor": "what this machine has, what dlrun makes of it, what data is here",
    "completion": "print a shell script that completes verbs, groups and options",
}
