#!/usr/bin/env bash
# mca.sh BINARY SYMBOL [CPU...]: a static estimate (llvm-mca) of each innermost loop of the
# functions of an aarch64 BINARY whose demangled name contains SYMBOL.
# CPUs: default neoverse-n1 neoverse-v2 cortex-a76. MNX_MCA_FULL=1 prints llvm-mca's whole report.
set -euo pipefail
bin=$1 pat=$2
shift 2
[ $# -gt 0 ] || set -- neoverse-n1 neoverse-v2 cortex-a76
mca=$(ls /usr/bin/llvm-mca-[0-9]* | sort -V | tail -1)
V=${mca##*-}
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
syms=$(aarch64-linux-gnu-nm "$bin" | awk '$2 ~ /[tTwW]/ {print $3}' | paste - <(aarch64-linux-gnu-nm "$bin" | awk '$2 ~ /[tTwW]/ {print $3}' | c++filt) |
    awk -F'\t' -v p="$pat" 'index($2, p) {print $1}' | sort -u)
[ -n "$syms" ] || { echo "no function of $bin has '$pat' in its name" >&2; exit 1; }
while read -r sym; do
    "llvm-objdump-$V" -d --mattr=+all --no-show-raw-insn --no-leading-addr --symbolize-operands \
        --disassemble-symbols="$sym" "$bin" >"$W/f.s"
    rm -f "$W"/loop*
    awk -v w="$W" '
        /^[ \t]*<L[0-9]+>:/ { gsub(/[<> \t]/, ""); lab[$0] = ++n; line[n] = "." $0; isl[n] = 1; next }
        /^[ \t]+[a-z]/ {
            sub(/\/\/.*/, ""); n++
            if (match($0, /<L[0-9]+>/)) { t = substr($0, RSTART + 1, RLENGTH - 2); to[n] = t }
            gsub(/</, "."); gsub(/>/, ""); line[n] = $0
        }
        END {
            for (b = 1; b <= n; b++) if (b in to) { a = lab[to[b] ":"]; if (a && a < b) if (!(a in end) || end[a] < b) end[a] = b }
            for (a in end) {
                a += 0; inner = 1
                for (x in end) if (x + 0 > a && x + 0 < end[a]) inner = 0
                if (!inner) continue
                f = w "/loop" sprintf("%05d", a)
                for (i = a; i <= end[a]; i++) print line[i] > f
                close(f)
            }
        }' "$W/f.s"
    printf '%s\n' "$sym" | c++filt
    ls "$W"/loop* >/dev/null 2>&1 || { echo "  no loop"; continue; }
    k=0
    for l in "$W"/loop*; do
        k=$((k + 1))
        # branch targets outside the loop need a definition
        grep -oE '\.L[0-9]+$' "$l" | sort -u | while read -r t; do grep -qx "$t:" "$l" || echo "$t:"; done >>"$l.tail"
        cat "$l" "$l.tail" >"$l.s"
        echo "  loop $k: $(grep -cvE ':$' "$l") instructions, first: $(sed -n 2p "$l" | xargs)"
        for cpu in "$@"; do
            if [ "${MNX_MCA_FULL:-0}" = 1 ]; then
                "$mca" -mtriple=aarch64 -mcpu="$cpu" -bottleneck-analysis -timeline -timeline-max-iterations=2 "$l.s"
            else
                "$mca" -mtriple=aarch64 -mcpu="$cpu" -iterations=1000 -bottleneck-analysis "$l.s" 2>"$W/err" | awk -v c="$cpu" '
                    /^Total Cycles:/ {cy = $3} /^IPC:/ {ipc = $2} /^Block RThroughput:/ {rt = $3}
                    /Resource Pressure/ {r = $(NF-1) $NF} /^Data Dependencies:/ {d = $(NF-1) $NF}
                    END {if (cy) printf "    %-12s %7.2f cycles/iteration, IPC %s, limit by resources %s cycles\n", c, cy / 1000, ipc, rt
                         else printf "    %-12s cannot parse the loop (instructions that this CPU lacks?)\n", c}'
            fi
        done
    done
done <<<"$syms"
