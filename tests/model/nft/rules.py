"""Rules of table inet, one for each thing that the readers know: as people write them."""

RULES = """\
ip saddr @i tcp dport { 80, 443, 1000-2000 } accept
ip6 saddr != 2001:db8::/32 accept
ip saddr 1.2.3.4-1.2.3.7 accept
ip saddr != 1.2.3.0/24 drop
ip saddr > 1.2.3.4 accept
ip saddr != { 1.2.3.4, 10.0.0.0/8 } accept
ip saddr { 10.0.0.0/8 } accept
ip daddr 0.0.0.0/0 accept
ip saddr & 255.255.255.0 == 10.0.0.0 accept
ip saddr & 255.255.255.0 @i accept
ip saddr & 255.255.255.0 != @i accept
ip saddr & 255.0.255.0 == 10.0.5.0 accept
ip saddr & 0.0.0.1 == 0.0.0.1 accept
ip6 saddr & ffff:ffff:: == 2001:db8:: accept
ip6 saddr & ffff:ffff:ffff:ffff:: @six accept
tcp flags syn accept
tcp flags == syn accept
tcp flags syn,ack accept
tcp flags == syn,ack accept
tcp flags == (syn|ack) accept
tcp flags != syn accept
tcp flags != syn,ack accept
tcp flags & syn == 0 accept
tcp flags & (syn|ack) != 0 accept
tcp flags & (syn|ack) == syn|ack accept
tcp flags & (syn|ack) == syn accept
tcp flags & (fin|syn|rst|ack) != syn accept
tcp flags & (syn|ack) == { syn, ack } accept
tcp flags & syn == syn accept
tcp flags syn / syn,ack accept
tcp flags ! syn,ack accept
tcp flags { syn, syn|ack } accept
tcp flags { syn } accept
tcp flags != { syn } accept
tcp flags syn | ack accept
ct state new accept
ct state == new accept
ct state != new drop
ct state established,related accept
ct state { new, invalid } accept
ct state != { new, established } accept
ct state != new,established accept
ct state ! new accept
ct state & new == 0 accept
ct state & (new|established) == new accept
ct state vmap { established : accept, related : accept, invalid : drop }
ct status dnat accept
ct status snat,dnat accept
ct status { dnat } accept
ct status { dnat, snat } accept
ct status ! dnat accept
ct status != dnat accept
ct status assured accept
ct original ip saddr 1.2.3.4 accept
ct original ip daddr @i accept
ct original ip daddr != 1.2.3.4 accept
ct original ip6 saddr 2001:db8::1 accept
ct reply ip saddr 1.2.3.4 accept
meta l4proto tcp ct original proto-dst 80 accept
meta l4proto tcp ct original proto-dst 80-90 accept
meta l4proto tcp ct reply proto-src 80 accept
ct direction original accept
ct direction reply accept
ct mark 0x1 accept
ct mark != 1 accept
ct mark & 0xff == 0x1 accept
ct mark & 0xf0000000 == 0x10000000 accept
ct label 1 accept
ct helper "ftp" accept
ct expiration < 5s accept
ct zone 1 accept
ct bytes > 5 accept
ct l3proto ipv4 accept
ct protocol 6 accept
meta mark 0x10 accept
meta mark { 1, 2-5 } accept
meta mark and 0xf0 == 0x10 accept
iif lo accept
oif != lo accept
iif 77 accept
iifname "wg*" accept
iifname != "eth0" accept
iifname { "a", "b" } accept
iifname @ifs accept
oifname { "wg*", "eth0" } accept
iifname . oifname { "a" . "b" } accept
iifname . ip saddr { "a" . 1.2.3.4 } accept
iifgroup 1 accept
meta protocol ip accept
meta protocol != ip accept
meta protocol { ip, ip6 } accept
meta nfproto ipv6 accept
meta nfproto { ipv4, ipv6 } accept
meta pkttype { broadcast, multicast } drop
meta skuid 0 accept
meta skuid != 0 accept
meta skuid { 1-5, root } accept
meta skgid != 0 accept
meta length > 100 drop
meta length 20-100 accept
meta time < 1700000000 accept
meta time "2023-11-14 22:13:20"-"2024-11-14 22:13:20" accept
meta time > 1700000000 accept
meta hour "10:00"-"12:00" accept
meta day "Monday" accept
meta cpu 1 accept
meta l4proto tcp accept
meta l4proto != tcp accept
meta l4proto != { 6, 17 } accept
meta l4proto ipv6-icmp accept
meta l4proto 200 accept
meta l4proto { tcp, udp } th dport 53 accept
meta l4proto { tcp, icmp } th dport 53 accept
meta l4proto != { tcp, udp } th dport 53 accept
th dport 53 accept
@th,0,16 5 accept
@nh,8,8 5 accept
@nh,8,8 != 5 accept
@th,64,8 & 0x7 == 0x4 accept
udp dport 123 @th,64,8 & 0x7 == 4 accept
udp dport 123 @th,64,8 & 0x7 != 4 accept
udp dport 123 @th,64,8 & 0x7 { 3, 4 } accept
udp dport 123 @th,64,8 & 0x7 != { 3, 4 } drop
udp dport 123 @th,69,3 4 accept
udp dport 123 @th,69,3 != { 3, 4 } drop
fib daddr type local accept
fib daddr type != { local, broadcast } drop
fib daddr . iif type != local drop
fib saddr type unicast accept
fib saddr . iif oif missing drop
fib saddr . mark . iif oif missing drop
fib saddr . iif oif exists accept
fib saddr . iif oif eq 0 drop
ip protocol tcp accept
ip protocol != tcp accept
ip protocol { tcp, udp } th dport 53 accept
ip6 nexthdr tcp accept
ip6 nexthdr { tcp, udp } accept
ip6 nexthdr ipv6-icmp icmpv6 type 8 accept
ip6 nexthdr 44 accept
ip ttl 1 drop
ip ttl < 5 drop
ip6 hoplimit 255 accept
ip6 hoplimit < 5 accept
ip dscp cs1 accept
ip6 dscp { cs1, af11 } accept
ip length > 1000 drop
ip6 length 5 accept
ip frag-off & 0x1fff != 0 drop
ip frag-off & 0x1fff == 0 accept
ip frag-off & 0x3fff != 0 drop
ip version 4 accept
exthdr frag exists drop
frag id 5 drop
rt type 0 drop
ip option lsrr exists drop
tcp option maxseg exists drop
tcp option maxseg size 500 accept
icmp type echo-request accept
icmp type != 8 accept
icmp type { echo-request, destination-unreachable } accept
icmp code 4 accept
icmp type 3 icmp code 4 accept
icmp type . icmp code { 3 . 4 } accept
icmp id 5 accept
icmpv6 type { nd-router-advert, mld-listener-query } ip6 hoplimit 255 accept
icmpv6 code port-unreachable accept
meta l4proto icmp icmp type 8 accept
meta nfproto ipv4 icmp type 8 accept
icmp type 8 meta nfproto ipv4 accept
meta nfproto ipv6 tcp dport 22 accept
meta nfproto ipv6 ip6 saddr ::1 accept
meta l4proto tcp tcp dport 22 accept
tcp sport 1024-65535 drop
tcp sport 0-1023 drop
tcp dport >= 1024 accept
tcp dport <= 1024 accept
tcp dport < 1024 accept
tcp dport != 1-5 accept
tcp dport != { 1-5, 7 } accept
tcp dport ssh accept
udp dport { 123 } udp sport 123 accept
udp length > 8 accept
sctp dport 5 accept
dccp dport 5 accept
udplite dport 5 accept
ah spi 5 accept
ether saddr 00:11:22:33:44:55 accept
ether type ip accept
vlan id 5 accept
limit rate 5/second accept
limit rate over 5/second burst 10 packets accept
limit rate 5 mbytes/second accept
limit rate over 1 mbytes/second burst 5 kbytes drop
limit rate 5/second limit rate 5/second accept
limit name "l" accept
limit name "lo" drop
ct count 5 accept
ct count over 5 reject
quota over 5 mbytes drop
add @e { ip saddr ct count 5 } accept
add @e { ip saddr ct count over 5 } drop
update @d { ip saddr limit rate 5/minute burst 3 packets } accept
update @d { ip saddr limit rate over 5/minute burst 3 packets } drop
add @d { ip saddr timeout 5s } accept
delete @e { ip saddr } accept
meter foo { ip saddr limit rate 5/minute } accept
meter bar size 100 { ip saddr . tcp dport limit rate over 5/minute } drop
ip saddr @d drop
ip saddr != @d drop
ip daddr @d drop
ip saddr & 255.255.255.0 @d drop
reject
reject with icmp type host-unreachable
reject with icmp type port-unreachable
reject with icmp type 3
reject with icmp type net-unreachable
reject with icmpv6 type no-route
reject with icmpv6 type admin-prohibited
reject with icmpv6 type port-unreachable
reject with icmpx type admin-prohibited
reject with icmpx type host-unreachable
reject with icmpx type no-route
reject with icmpx type port-unreachable
reject with tcp reset
meta nfproto ipv6 reject
meta nfproto ipv4 reject
ip saddr 1.2.3.4 reject
ip saddr 1.2.3.4 reject with tcp reset
tcp dport 22 meta l4proto tcp reject with tcp reset
tcp dport 22 reject
icmp type 8 reject
tcp dport vmap @vm
tcp dport vmap { 22 : accept, 23-30 : jump x }
udp dport vmap { 53 : continue, 54 : drop } accept
ip saddr vmap { 10.0.0.0/8 : accept, * : drop }
iifname vmap { "a" : goto x, "w" : jump x }
ip saddr . ip daddr vmap { 1.2.3.4 . 5.6.7.8 : accept }
ip saddr . tcp dport @cc accept
ip saddr . tcp dport != @cc accept
ip saddr . tcp dport { 1.2.3.4 . 80, 10.0.0.0/8 . 90-100 } accept
counter name ip saddr . tcp dport map @cm accept
counter name tcp dport map { 80 : "c", 90-99 : "c" } accept
meta l4proto . th dport { tcp . 80, udp . 53 } accept
meta l4proto . th dport { tcp . 80, icmp . 53 } accept
meta l4proto . th dport vmap { tcp . 80 : accept }
ip saddr . meta l4proto . th dport { 1.2.3.4 . tcp . 80, 1.2.3.4 . udp . 53 } accept
socket transparent 1 accept
numgen random mod 2 0 accept
jhash ip saddr mod 2 0 accept
meta mark set 0x10
meta mark set mark and 0xff xor 0x3
ct mark set ct mark and 0xff or 0x1
meta priority set 1:2
ip dscp set cs1
tcp option maxseg size set 1400
reset tcp option timestamp
log prefix "x" level info
log flags all
log prefix "x" group 2 snaplen 100 queue-threshold 5
counter packets 5 bytes 6 accept
counter name c accept
goto x
continue
"""

TABLE = """\
table inet t {
\tcounter c { }
\tlimit l { rate 5/minute; }
\tlimit lo { rate over 5/minute; }
\tset d { type ipv4_addr; flags dynamic,timeout; timeout 60s; }
\tset e { type ipv4_addr; size 65535; flags dynamic; }
\tset i { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8, 10.9.0.1-10.11.0.7, 1.2.3.4 } }
\tset six { type ipv6_addr; elements = { 2001:db8::, 2001:db8:1:: } }
\tset cc { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90, 1.2.3.4 . 443 } }
\tset ifs { type ifname; elements = { "eth0", "wg0" } }
\tmap vm { type inet_service : verdict; elements = { 22 : accept, 23 : drop, 24 : jump x } }
\tmap cm { type ipv4_addr . inet_service : counter; elements = { 1.2.3.4 . 80 : "c", 1.2.3.5 . 80 : "c" } }
\tchain x {
\t\ttcp sport 5 drop
\t}
"""


def ruleset(rules):
    """A chain for each rule, and one that a hook calls."""
    chains = "".join(f"\tchain c{number} {{\n\t\t{rule}\n\t}}\n" for number, rule in enumerate(rules))
    return f"{TABLE}{chains}\tchain y {{\n\t\ttype filter hook input priority 0; policy accept;\n\t}}\n}}\n"
