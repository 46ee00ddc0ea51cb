package runc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/executor"
)

func TestResolvConf(t *testing.T) {
	both := DNS{Nameservers: []string{"127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"}, Search: []string{"lan"}, Options: []string{"ndots:2"}}
	local := DNS{Nameservers: []string{"127.0.0.53"}}
	for _, tt := range []struct {
		name      string
		dns, host DNS
		inHost    bool
		want      string
	}{
		{name: "own network", host: both, want: "nameserver 192.0.2.1|nameserver 2001:db8::1|search lan|options ndots:2"},
		{name: "host's network", host: both, inHost: true, want: "nameserver 127.0.0.1|nameserver 192.0.2.1|nameserver ::1|nameserver 2001:db8::1|search lan|options ndots:2"},
		{name: "nothing left", host: local, want: "nameserver 8.8.8.8|nameserver 8.8.4.4"},
		{name: "local in host's network", host: local, inHost: true, want: "nameserver 127.0.0.53"},
		{name: "empty in host's network", inHost: true, want: ""},
		{name: "configured", host: both, dns: DNS{Nameservers: []string{"192.0.2.9"}, Search: []string{"a", "b"}, Options: []string{"edns0"}},
			want: "nameserver 192.0.2.9|search a b|options edns0"},
		{name: "some configured", host: both, dns: DNS{Options: []string{"edns0"}},
			want: "nameserver 192.0.2.1|nameserver 2001:db8::1|search lan|options edns0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.ReplaceAll(strings.TrimSuffix(string(writeResolvConf(tt.dns, tt.host, tt.inHost)), "\n"), "\n", "|")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHostDNS(t *testing.T) {
	dir := t.TempDir()
	main, systemd := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "systemd.conf")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if dns := readHostDNS(main, systemd, false); len(dns.Nameservers) != 0 {
		t.Errorf("without files: %v", dns)
	}
	write(main, "# comment\nnameserver 127.0.0.53\noptions edns0 trust-ad\nnonsense\n")
	write(systemd, "nameserver 192.0.2.7\n")
	if dns := readHostDNS(main, systemd, false); len(dns.Nameservers) != 1 || dns.Nameservers[0] != "192.0.2.7" {
		t.Errorf("systemd's: %v", dns)
	}
	if dns := readHostDNS(main, systemd, true); dns.Nameservers[0] != "127.0.0.53" || len(dns.Options) != 2 {
		t.Errorf("in the host's network: %v", dns)
	}
	// What the host says now counts.
	write(main, "nameserver 192.0.2.8\n")
	if dns := readHostDNS(main, systemd, false); dns.Nameservers[0] != "192.0.2.8" {
		t.Errorf("after a change: %v", dns)
	}
}

func TestHostsFile(t *testing.T) {
	for _, tt := range []struct {
		host, ip, want string
	}{
		{"db", "192.0.2.1", "192.0.2.1\tdb\n"},
		{"db", "2001:db8::1", "2001:db8::1\tdb\n"},
		{"db", "::ffff:192.0.2.1", "::ffff:192.0.2.1\tdb\n"},
		{"db", "not an address", ""},
		{"db\n1.2.3.4 evil", "192.0.2.1", ""},
		{"", "192.0.2.1", ""},
	} {
		got, err := hostsFile("me", []executor.HostIP{{Host: tt.host, IP: tt.ip}})
		if (err != nil) != (tt.want == "") || err == nil && !strings.HasSuffix(string(got), tt.want) {
			t.Errorf("%q %q: %q, %v", tt.host, tt.ip, got, err)
		}
		if err == nil && !strings.HasPrefix(string(got), "127.0.0.1\tlocalhost me\n::1\tlocalhost ip6-localhost ip6-loopback\n") {
			t.Errorf("starts with %q", got)
		}
	}
}

// FuzzResolvConf reads anything, and what is made of it reads as the same.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 127.0.0.1\nsearch a b\ndomain c\noptions x\nnameserver\n\x00")
	f.Add("options a\noptions b\r\nnameserver fe80::1%eth0")
	f.Fuzz(func(t *testing.T, text string) {
		once := writeResolvConf(DNS{}, parseResolvConf(text), true)
		twice := writeResolvConf(DNS{}, parseResolvConf(string(once)), true)
		if string(once) != string(twice) {
			t.Errorf("%q, then %q", once, twice)
		}
	})
}
