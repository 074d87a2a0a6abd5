# Flattens the YAML that cloud-init files use: one line "path<TAB>value" per scalar, paths joined by dots,
# list items numbered from 0, newlines in a value written as \n and backslashes as \\.
# Block and flow collections, quoted and plain scalars, literal and folded blocks; no anchors, no tags.
function escape(v) { gsub(/\\/, "\\\\", v); gsub(/\n/, "\\n", v); return v }
function emit(p, v) { printf "%s\t%s\n", p, escape(v) }
function trim(v) { sub(/^[ \t]+/, "", v); sub(/[ \t\r]+$/, "", v); return v }
function unquote(v,   out, i, c) {
    if (v ~ /^".*"$/) {
        v = substr(v, 2, length(v) - 2); out = ""
        for (i = 1; i <= length(v); i++) {
            c = substr(v, i, 1)
            if (c == "\\") { i++; c = substr(v, i, 1); if (c == "n") c = "\n"; else if (c == "t") c = "\t" }
            out = out c
        }
        return out
    }
    if (v ~ /^'.*'$/) { v = substr(v, 2, length(v) - 2); gsub(/''/, "'", v) }
    return v
}
# A flow collection in `flow`, read from position `at`.
function flow_space() { while (substr(flow, at, 1) ~ /^[ \t\n]$/) at++ }
function flow_scalar(   quote, from, c) {
    flow_space(); from = at; quote = substr(flow, at, 1)
    if (quote == "\"" || quote == "'") {
        for (at++; at <= length(flow); at++) {
            c = substr(flow, at, 1)
            if (c == "\\" && quote == "\"") at++
            else if (c == quote) { at++; break }
        }
    } else
        while (at <= length(flow)) {
            c = substr(flow, at, 1)
            if (c ~ /^[],}]$/ || (c == ":" && substr(flow, at + 1, 1) ~ /^[ ]?$/)) break
            at++
        }
    return unquote(trim(substr(flow, from, at - from)))
}
function flow_value(path,   n, key, c) {
    flow_space(); c = substr(flow, at, 1)
    if (c == "[") {
        at++; n = 0
        while (at <= length(flow)) {
            flow_space(); c = substr(flow, at, 1)
            if (c == "]") { at++; return }
            if (c == ",") { at++; continue }
            flow_value(path "." n); n++
        }
    } else if (c == "{") {
        at++
        while (at <= length(flow)) {
            flow_space(); c = substr(flow, at, 1)
            if (c == "}") { at++; return }
            if (c == ",") { at++; continue }
            key = flow_scalar(); flow_space()
            if (substr(flow, at, 1) == ":") at++
            flow_value(path "." key)
        }
    } else emit(path, flow_scalar())
}
function value(path, v, indent) {
    v = trim(v)
    if (v ~ /^[|>][-+0-9]*[ ]*(#.*)?$/) {
        block = path; block_fold = (v ~ /^>/); block_keep = (v ~ /^.[0-9]*-/) ? 0 : 1
        block_parent = indent; block_indent = -1; block_text = ""; return
    }
    if (v ~ /^[[{]/) {
        flow = v; opens = v; closes = v
        if (gsub(/[[{]/, "", opens) > gsub(/[]}]/, "", closes)) { joining = path; return }
        at = 1; flow_value(path); return
    }
    if (v !~ /^["']/) { sub(/[ \t]+#.*$/, "", v) }
    else if (match(v, /^"([^"\\]|\\.)*"/) || match(v, /^'([^']|'')*'/)) v = substr(v, 1, RLENGTH)
    if (v == "~" || v == "null") v = ""
    emit(path, unquote(v))
}
function end_block() {
    if (block == "") return
    if (block_fold) { gsub(/\n/, " ", block_text); sub(/ +$/, "", block_text); if (block_keep) block_text = block_text "\n" }
    else { sub(/\n+$/, "", block_text); if (block_keep && block_text != "") block_text = block_text "\n" }
    emit(block, block_text); block = ""
}
function node(n, c,   key, rest, path) {
    if (c ~ /^-([ \t]|$)/) {
        while (top > 0 && ind[top] > n) top--
        if (!(top > 0 && ind[top] == n && kind[top] == "seq")) {
            top++; ind[top] = n; kind[top] = "seq"; at_path[top] = pending; count[top] = 0
        }
        path = at_path[top] "." count[top]++; sub(/^\./, "", path)
        rest = substr(c, 2); match(rest, /^[ \t]*/); n += 1 + RLENGTH; rest = trim(rest)
        if (rest == "" || rest ~ /^#/) { pending = path; return }
        if (rest ~ /^-[ \t]/ || (rest ~ /^("[^"]*"|'[^']*'|[A-Za-z0-9_.\/-]+):([ \t]|$)/)) { pending = path; node(n, rest); return }
        value(path, rest, n - 2); return
    }
    if (match(c, /^("[^"]*"|'[^']*'|[^:#"'][^:]*|[^ :#"'][^ ]*):([ \t]|$)/)) {
        key = substr(c, 1, RLENGTH); sub(/:[ \t]*$/, "", key); key = unquote(trim(key)); rest = trim(substr(c, RLENGTH + 1))
        while (top > 0 && (ind[top] > n || (ind[top] == n && kind[top] == "seq"))) top--
        if (!(top > 0 && ind[top] == n && kind[top] == "map")) { top++; ind[top] = n; kind[top] = "map"; at_path[top] = pending }
        path = at_path[top] "." key; sub(/^\./, "", path)
        if (rest == "" || rest ~ /^#/) { pending = path; return }
        value(path, rest, n)
    }
}
{
    sub(/\r$/, "")
    if (joining != "") {
        flow = flow " " trim($0); opens = flow; closes = flow
        if (gsub(/[[{]/, "", opens) <= gsub(/[]}]/, "", closes)) { at = 1; flow_value(joining); joining = "" }
        next
    }
    if (block != "") {
        match($0, /^ */); n = RLENGTH
        if ($0 ~ /^[ \t]*$/) { block_text = block_text "\n"; next }
        if (block_indent < 0 && n > block_parent) block_indent = n
        if (block_indent >= 0 && n >= block_indent) { block_text = block_text substr($0, block_indent + 1) "\n"; next }
        end_block()
    }
    if ($0 ~ /^[ \t]*(#.*)?$/ || $0 ~ /^(---|\.\.\.)/) next
    match($0, /^ */)
    node(RLENGTH, substr($0, RLENGTH + 1))
}
END { end_block() }
