"""`dlrun resume RUN`: the same run, the same folder, the exact step."""

from dataclasses import replace

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Resumes one run; does nothing if it is complete."""
    options = parse("resume", arguments)

    from dlrun.runs.index import find_run
    from dlrun.runs.status import read_status

    folder = find_run(options.run, options.outputs)
    plain = folder.read_config()
    status = read_status(folder)
    if status is not None and status.state == "completed":
        print(f"{folder}: complete already, {status.step} steps; nothing to do")
        return 0

    from dlrun.commands.launch import dlrun, processes
    from dlrun.commands.start import resume
    from dlrun.config.check import check

    config = check(plain)
    if options.devices is not None:
        config = replace(config, hardware=replace(config.hardware, devices=options.devices))
    count = processes(config)
    if count > 1:
        return dlrun(["resume", *arguments], count)
    resume(config, folder)
    return 0
