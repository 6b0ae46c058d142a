"""The command line, as a terminal shows it.

terminal.py record FILE COLUMNS LINES WORD...  runs a command on a terminal of this size, and writes what came to it
terminal.py draw PICTURE NODES FILE...         draws the first command when so many nodes are half way, and the others
                                               as they ended
"""

import fcntl
import io
import json
import os
import re
import struct
import subprocess
import sys
import termios
import time

# A node at work: its bar, speed and time left.
BAR = re.compile(r"\[(=*)(>? *)\] .* of .*/s +\d+[smh]$")


def record(file, columns, lines, *command):
    """Keeps each piece of what the command writes, with the seconds since its start."""
    columns, lines = int(columns), int(lines)
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    began = time.monotonic()
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        pieces = []
        while piece := read(ours):
            pieces.append([time.monotonic() - began, piece.decode("latin-1")])
    if process.returncode:
        told = "".join(piece for _, piece in pieces)
        sys.exit(f"it ended with {process.returncode} and said:\n{told}")
    told = {"command": command, "columns": columns, "lines": lines, "pieces": pieces}
    with open(file, "w", encoding="utf-8") as out:
        json.dump(told, out)


def read(terminal):
    """What is there next; nothing when nobody has the other end any more, which is an error to Linux."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def screens(told):
    """The lines on the screen after each piece, without colours: the plugin has none."""
    import pyte

    screen = pyte.Screen(told["columns"], told["lines"])
    stream = pyte.ByteStream(screen)
    for seconds, piece in told["pieces"]:
        stream.feed(piece.encode("latin-1"))
        lines = [line.rstrip() for line in screen.display]
        while lines and not lines[-1]:
            lines.pop()
        yield seconds, lines


def half_way(told, nodes):
    """The moment at which all nodes are nearest to half of their work, and the lines then."""
    found = []
    for seconds, lines in screens(told):
        bars = [bar for bar in map(BAR.search, lines) if bar]
        shares = [len(bar[1]) / (len(bar[1]) + len(bar[2])) for bar in bars]
        if len(shares) == nodes and all(0 < share < 1 for share in shares):
            found.append((max(abs(share - 0.5) for share in shares), seconds, lines))
    if not found:
        sys.exit(f"{nodes} nodes were never seen at work at once")
    _, seconds, lines = min(found, key=lambda moment: moment[0])
    return seconds, lines


def draw(picture, nodes, *files):
    """Draws the records, each below its command."""
    from rich.console import Console
    from rich.text import Text

    records = []
    for file in files:
        with open(file, encoding="utf-8") as text:
            records.append(json.load(text))
    console = Console(record=True, file=io.StringIO(), width=records[0]["columns"], force_terminal=True)

    def show(line, style=""):
        console.print(Text(line, style=style), no_wrap=True, overflow="ignore", crop=False)

    for at, told in enumerate(records):
        show("$ " + " ".join(told["command"]), "bold")
        ended, lines = list(screens(told))[-1]
        if at == 0:
            seconds, lines = half_way(told, int(nodes))
        for line in lines:
            show(line)
        if at == 0:
            show(f"… and {ended - seconds:.0f} s later:", "dim")
    svg = console.export_svg(title="kubectl cassandra-backup", unique_id="terminal")
    # Fonts of another host, which a picture in a page may not load.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    with open(picture, "w", encoding="utf-8") as out:
        out.writelines(f"{line.rstrip()}\n" for line in svg.splitlines())


if __name__ == "__main__":
    {"record": record, "draw": draw}[sys.argv[1]](*sys.argv[2:])
