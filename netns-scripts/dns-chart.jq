#!/usr/bin/jq -rf
# The result of dns-bench.sh as SVG: a group of bars for each figure, each bar as long as its share of the group's longest.
def width: 430;
def left: 250;
def colour: {nat64: "#2563eb", unbound: "#94a3b8", bind: "#cbd5e1"}[.];
def number: if . >= 1000 then "\(. / 1000 * 10 | round / 10)k" else tostring end;
def groups: [
    ["cached", "cpu_us", "Known names: CPU, µs a query"],
    ["clients", "cpu_us", "… from 100 sockets: CPU, µs a query"],
    ["cached", "qps", "Known names: queries/s of one worker"],
    ["uncached", "cpu_us", "New names: CPU, µs a query"],
    ["uncached", "qps", "New names: queries/s of one worker"],
    ["rfc8219", "qps", "RFC 8219 DNS64 test, queries/s"],
    ["memory", "bytes_per_name", "Memory, bytes a new name"]];
[groups[] as [$test, $figure, $title]
    | {title: $title, bars: [(.rows[] | select(.test == $test and .[$figure])) | {server, value: .[$figure]}]}
    | select(.bars | length > 0)]
| reduce .[] as $group ({y: 10, parts: []};
    ($group.bars | map(.value) | max) as $most
    | .parts += ["<text x=\"\(left - 12)\" y=\"\(.y + 9 * ($group.bars | length) + 5)\" text-anchor=\"end\">\($group.title)</text>"]
    | reduce ($group.bars | sort_by({nat64: 0, unbound: 1, bind: 2}[.server]))[] as $bar (.;
        ([$bar.value / $most * width, 1] | max | round) as $long
        | .parts += [
            "<rect x=\"\(left)\" y=\"\(.y)\" width=\"\($long)\" height=\"15\" fill=\"\($bar.server | colour)\"/>",
            "<text x=\"\(left + $long + 6)\" y=\"\(.y + 12)\">\($bar.server) \($bar.value | number)</text>"]
        | .y += 18)
    | .y += 14)
| "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"\(.y)\" font-family=\"sans-serif\" font-size=\"12\">",
  "<rect width=\"820\" height=\"\(.y)\" fill=\"#ffffff\"/>", .parts[], "</svg>"
