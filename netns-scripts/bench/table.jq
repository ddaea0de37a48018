# The result as a table, columns parted by a bar.
def cell: if . == null then "-" else tostring end;
def asked:
    if .asked == null then "-"
    elif .asked.added then "adds <= \(.asked.added) of TAYGA"
    else [(if .asked.share then ">= \(.asked.share) fwd" else empty end), (if .asked.tayga then ">= \(.asked.tayga) TAYGA" else empty end)]
        | join(", ") end;
(["row", "unit", "forward6", "nat44", "tayga", "nat64", "/fwd", "/NAT44", "/TAYGA", "adds/TAYGA", "asked", "met"] | join("|")),
(.rows[] | [
    .row, .unit, (.medians.forward6 | cell), (.medians.nat44 | cell), (.medians.tayga | cell), (.medians.nat64 | cell),
    (.of_forwarding | cell), (.of_nat44 | cell), (.of_tayga | cell), (.added_of_tayga | cell), asked,
    (if .met == null then "-" elif .met then "yes" else "NO" end)
] | join("|"))
