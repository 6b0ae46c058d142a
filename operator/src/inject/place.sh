# Reads the agent's executable from standard input into the first directory that allows it.
# Arguments: file name, bytes, directories. Prints the directory and what the executable says of
# itself. Exit codes: 3 no directory; 4 the bytes were read but are not there, the directory is printed.
name=$1
bytes=$2
shift 2

# The end of standard input may never come, so exactly so many bytes are read.
receive() {
    if command -v head >/dev/null 2>&1; then
        head -c "$bytes"
    else
        dd bs=65536 iflag=fullblock count=$((bytes / 65536)) 2>/dev/null &&
            { [ $((bytes % 65536)) -eq 0 ] || dd bs=$((bytes % 65536)) iflag=fullblock count=1 2>/dev/null; }
    fi
}

for dir; do
    [ -d "$dir" ] || mkdir -p "$dir" 2>/dev/null || { echo "$dir: cannot be created" >&2; continue; }
    [ -O "$dir" ] || { echo "$dir: belongs to another user" >&2; continue; }
    chmod 700 "$dir" 2>/dev/null
    probe=$dir/.probe.$$
    # A script of its own is the only sure way to see a mount that forbids execution.
    if ! { printf '#!/bin/sh\nexit 0\n' >"$probe" && chmod 700 "$probe"; } 2>/dev/null; then
        rm -f "$probe" 2>/dev/null
        echo "$dir: not writable" >&2
        continue
    fi
    if ! "$probe" 2>/dev/null; then
        rm -f "$probe"
        echo "$dir: execution not allowed" >&2
        continue
    fi
    rm -f "$probe"
    new=$dir/.$name.$$
    if ! { receive >"$new"; } 2>/dev/null || ! chmod 700 "$new"; then
        rm -f "$new"
        echo "$dir: the agent could not be written; is it full?" >&2
        echo "$dir"
        exit 4
    fi
    if ! says=$("$new" self-check); then
        rm -f "$new"
        echo "$dir: the agent does not run here" >&2
        echo "$dir"
        exit 4
    fi
    if ! mv -f "$new" "$dir/$name"; then
        rm -f "$new"
        echo "$dir: the agent could not be renamed" >&2
        echo "$dir"
        exit 4
    fi
    for old in "$dir"/cassandra-backup-*; do
        [ "$old" = "$dir/$name" ] || rm -f "$old"
    done
    printf '%s\t%s\n' "$dir" "$says"
    exit 0
done
exit 3
