# From samples, one a line, to medians and what nat64 comes to against the others. A ratio is the median over the rounds of
# the ratios within a round.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def round_to($digits): if . == null then null else . * pow(10; $digits) | round | . / pow(10; $digits) end;
def shown: if . == null then null elif . < 100 then round_to(2) else round end;

# What is asked: `share` of plain forwarding, times TAYGA's, times NAT44's; or, of what is added to plain forwarding, the
# most in times of what TAYGA adds.
def asked($row):
    if $row | startswith("tcp") then {share: 0.55, tayga: 6, aim: "0.65 of forwarding", aim_share: 0.65}
    elif $row | startswith("udp") then {tayga: 1.3, aim: "1.0 of NAT44", aim_nat44: 1}
    elif $row == "cpu" then {added: 0.6, aim: "NAT44's"}
    elif $row == "http" then {share: 0.8, aim: "0.95 of forwarding", aim_share: 0.95}
    elif $row | startswith("rtt") then {added: 0.4, aim: "0.2 of TAYGA's"}
    else null end;

# [{way: value}] by round, of one row.
def by_round: group_by([.run, .round]) | map(map({key: .way, value}) | from_entries);
def ratio($one; $other): map(select(.[$one] and .[$other] and .[$other] > 0) | .[$one] / .[$other]) | median;
def added: map(select(.nat64 and .tayga and .forward6 and .tayga > .forward6)
    | ([.nat64 - .forward6, 0] | max) / (.tayga - .forward6)) | median;

. as $samples
| (reduce $samples[].row as $row ([]; if index($row) then . else . + [$row] end)) as $order
| {
    kernel: $kernel, cores: $cores, seconds: $seconds,
    rounds: ($samples | map([.run, .round]) | unique | length),
    rows: [
        $order[] as $row
        | ($samples | map(select(.row == $row))) as $of_row
        | ($of_row | by_round) as $rounds
        | asked($row) as $asked
        | {
            row: $row, unit: $of_row[0].unit,
            medians: ($of_row | group_by(.way) | map({key: .[0].way, value: (map(.value) | median | shown)}) | from_entries),
            of_forwarding: ($rounds | ratio("nat64"; "forward6") | round_to(3)),
            of_nat44: ($rounds | ratio("nat64"; "nat44") | round_to(3)),
            of_tayga: ($rounds | ratio("nat64"; "tayga") | round_to(3)),
            added_of_tayga: (if $asked.added then ($rounds | added | round_to(3)) else null end),
            asked: $asked
        }
        | .met = (
            if $asked == null then null
            elif $asked.added then (if .added_of_tayga == null then null else .added_of_tayga <= $asked.added end)
            elif .of_forwarding == null and .of_tayga == null then null
            else (($asked.share // 0) <= (.of_forwarding // 1e9)) and (($asked.tayga // 0) <= (.of_tayga // 1e9)) end)
    ],
    samples: $samples
}
