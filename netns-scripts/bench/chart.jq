# The result as an SVG: what is more the better as a share of plain forwarding, then what each way adds to plain forwarding
# as a share of what TAYGA adds.
def ways: [["nat64", "nat64", "#1f6fb2"], ["nat44", "kernel NAT44", "#9a9a9a"], ["tayga", "TAYGA + NAT44", "#d98a2b"]];
def escape: gsub("&"; "&amp;") | gsub("<"; "&lt;");
def text($x; $y; $anchor; $size): "<text x=\"\($x)\" y=\"\($y)\" text-anchor=\"\($anchor)\" font-size=\"\($size)\">\(escape)</text>";
def names: {
    "tcp-1-up": "TCP, 1 flow, up", "tcp-1-down": "TCP, 1 flow, down", "tcp-4-up": "TCP, 4 flows, up",
    "tcp-4-down": "TCP, 4 flows, down", "udp-64-4": "UDP 64 B, 4 flows", "udp-64-1000": "UDP 64 B, 1000 flows",
    "udp-1200-4": "UDP 1200 B, 4 flows", "udp-1200-1000": "UDP 1200 B, 1000 flows", "http": "connections/s",
    "lossless": "packets/s without loss", "establish": "new sessions/s",
    "cpu": "CPU per packet", "rtt-idle": "round trip, idle", "rtt-busy": "round trip beside a bulk flow"};
def bar($share; $caption; $color; $y; $full):
    (if $share > 1.25 then 1.25 elif $share < 0 then 0 else $share end * $full | round) as $width
    | "<rect x=\"190\" y=\"\($y)\" width=\"\($width)\" height=\"11\" fill=\"\($color)\"/>",
      ($caption | text(194 + $width; $y + 9; "start"; 10));
def group($name; $bars; $y; $full):
    ($name | text(182; $y + 9 + 6 * (($bars | length) - 1); "end"; 12)),
    ($bars | to_entries[] | bar(.value[0]; .value[1]; .value[2]; $y + 13 * .key; $full));

400 as $full
| .rows as $rows
| [$rows[] | select(names[.row] and .asked.added == null and .medians.forward6) | . as $r
    | {name: names[.row], bars: [ways[] | select($r.medians[.[0]]) | ($r.medians[.[0]] / $r.medians.forward6) as $s
        | [$s, "\($s * 100 | round) %  (\($r.medians[.[0]]) \($r.unit))", .[2]]]}] as $shares
| [$rows[] | select(names[.row] and .asked.added and .medians.forward6 and .medians.tayga) | . as $r
    | ($r.medians.tayga - $r.medians.forward6) as $unit | select($unit > 0)
    | {name: names[.row], bars: [ways[] | select($r.medians[.[0]]) | ($r.medians[.[0]] - $r.medians.forward6) as $more
        | [$more / $unit, "+\($more * 100 | round | . / 100) \($r.unit)", .[2]]]}] as $added
| 50 as $row
| (70 + $row * ($shares | length)) as $second
| ($second + 30 + $row * ($added | length) + 10) as $height
| "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 \($height)\" font-family=\"sans-serif\" fill=\"#222\">",
  "<rect width=\"860\" height=\"\($height)\" fill=\"#fff\"/>",
  ("Share of plain IPv6 forwarding (the longer the better)" | text(10; 20; "start"; 14)),
  (ways | to_entries[] | . as $entry | "<rect x=\"\(430 + 125 * .key)\" y=\"10\" width=\"11\" height=\"11\" fill=\"\(.value[2])\"/>",
    ($entry.value[1] | text(446 + 125 * $entry.key; 20; "start"; 12))),
  "<line x1=\"\(190 + $full)\" y1=\"32\" x2=\"\(190 + $full)\" y2=\"\($second - 28)\" stroke=\"#bbb\" stroke-dasharray=\"4 3\"/>",
  ($shares | to_entries[] | group(.value.name; .value.bars; 40 + $row * .key; $full)),
  ("Added to plain forwarding, TAYGA's addition = 100 % (the shorter the better)" | text(10; $second; "start"; 14)),
  ($added | to_entries[] | group(.value.name; .value.bars; $second + 20 + $row * .key; $full)),
  "</svg>"
