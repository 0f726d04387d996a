"""One file a verb, thin: parse, call, print."""

VERBS = {
    "train": "train one run, or a sweep with -m",
    "resume": "go on with a run that was cut off, at the exact step",
    "ls": "list runs: status, method, data set, key metric",
    "show": "one run in detail: figures, pictures, config",
    "evaluate": "every metric of a run, on its own data set or another",
    "predict": "classify images: files, folders, patterns",
    "embed": "features of images: files, pictures, TensorBoard's projector",
    "sample": "images of nothing, of a generative run",
    "reconstruct": "images beside what the model gives back of them",
    "interpolate": "from one image to another by way of codes",
    "traverse": "what each number of a code does",
    "translate": "a folder of images into the other domain",
    "doctor": "what this machine has, what dlrun makes of it, what data is here",
    "completion": "print a shell script that completes verbs, groups and options",
}
