"""Has pip install requirements at a lock file's versions.

    locked.py uv.lock requirements.txt constraints.txt

It writes the lock file's versions as pip's constraints. Lock files of uv, poetry
and pdm are read. If the requirements ask for what the lock file does not say, it
prints the first such line; lines of an address or a path pass.
"""
import os
import re
import sys


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def other(path, seen=()):
    for line in re.sub(r"\\\r?\n", " ", read(path)).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        more = re.match(r"(?:-r|--requirement)[\s=]*(\S+)", line)
        if more:
            more = os.path.join(os.path.dirname(path), more[1])
            found = more not in seen and other(more, (*seen, path))
            if found:
                return found
        asked = re.match(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*(.*)", line)
        if not asked or line.startswith("-") or "/" in asked[1] or asked[2].startswith(("@", "/", ":")):
            continue
        versions = locked.get(plain(asked[1]), ())
        pin = re.match(r"===?\s*([^\s;,]+)", asked[2])
        if not versions or (pin and "*" not in pin[1] and pin[1] not in versions):
            return line.split(" --hash")[0].split("  ")[0]
    return ""


lock, requirements, constraints = sys.argv[1:]
locked = {}
for name, version in re.findall(r'^name = "([^"]+)"\r?\nversion = "([^"]+)"', read(lock), re.M):
    locked.setdefault(plain(name), set()).add(version)
with open(constraints, "w", encoding="utf-8") as f:
    for name, versions in locked.items():
        if len(versions) == 1:  # else it depends on the platform, and the requirements say on what
            print(f"{name}=={min(versions)}", file=f)
print(other(requirements), end="")
