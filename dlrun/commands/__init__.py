"""One file a verb, thin: parse, call, print."""

VERBS = {
    "train": "train one run, or a sweep with -m",
    "resume": "go on with a run that was cut off, at the exact step",
    "ls": "list runs: status, method, data set, key metric",
    "show": "one run in detail: figures, pictures, config",
    "export": "files for other programs: safetensors, torchvision, ONNX, torch.export",
    "doctor": "what this machine has, what dlrun makes of it, what data is here",
    "completion": "print a shell script that completes verbs, groups and options",
}
