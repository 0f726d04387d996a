"""One thin file a verb: it parses, calls and prints. `parsers.py` has all arguments."""

VERBS = {
    "train": "train one run, or a sweep with -m",
    "tune": "search for the hyperparameters that do best on the val split, with Optuna",
    "resume": "resume an interrupted run at the exact step",
    "ls": "list runs: status, method, data set, key metric",
    "show": "show one run in detail: metrics, pictures, config",
    "compare": "compare runs or a sweep: config differences, metrics over seeds, paired tests",
    "plot": "plot curves of runs or a sweep, with bands over seeds",
    "leaderboard": "rank the best config of each method on a data set, chosen on val",
    "report": "write one HTML file about runs or a sweep: curves, metrics, pictures",
    "evaluate": "compute every metric of a run, on its own data set or another one",
    "predict": "classify images: files, folders, patterns",
    "embed": "compute features of images: files, plots, TensorBoard's projector",
    "sample": "generate images with a generative run",
    "reconstruct": "show images next to their reconstructions",
    "interpolate": "interpolate between two images in the latent space",
    "traverse": "show what each latent dimension does",
    "translate": "translate a folder of images into the other domain",
    "export": "export a network: safetensors, torchvision, ONNX, torch.export",
    "rm": "delete runs by name or filter; asks first",
    "gc": "free disk space: failed and empty runs, old checkpoints; asks first",
    "doctor": "show the hardware, its speed, what dlrun would use of it, and the data here",
    "completion": "print a script that completes verbs, flags, options and runs in your shell",
}
"""What `dlrun --help` says of each; in the order of the functions in `parsers.py`."""
