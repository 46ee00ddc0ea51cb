package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/containerd/log"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the table for the rules of one bridge.
func tableName(bridge string) string { return "kiln-" + bridge }

// Offset and length of the source address in an IPv4 header.
const (
	sourceOffset = 12
	sourceLength = 4
)

// addRules writes the table of a bridge, in one transaction; what was in it
// before is replaced.
func addRules(ctx context.Context, bridge string, subnet netip.Prefix) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	warnOfPolicy(ctx, c, bridge)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName(bridge)})
	c.FlushTable(table)
	out := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	// From the subnet to elsewhere: under the machine's own address.
	c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(append(fromSubnet(subnet),
		device(expr.MetaKeyOIFNAME, expr.CmpOpNeq, bridge)...), &expr.Masq{})})
	through := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	// From elsewhere to the bridge: answers only.
	c.AddRule(&nftables.Rule{Table: table, Chain: through, Exprs: append(append(
		device(expr.MetaKeyIIFNAME, expr.CmpOpNeq, bridge),
		device(expr.MetaKeyOIFNAME, expr.CmpOpEq, bridge)...), append(unasked(), &expr.Verdict{Kind: expr.VerdictDrop})...)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write firewall rules (the kernel needs nftables with address translation): %w", err)
	}
	return nil
}

// removeRules removes the table of a bridge; there need be none.
func removeRules(_ context.Context, bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list firewall tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == tableName(bridge) {
			c.DelTable(t)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove firewall rules: %w", err)
	}
	return nil
}

func fromSubnet(subnet netip.Prefix) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: sourceLength},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: sourceLength,
			Mask: net.CIDRMask(subnet.Bits(), 32), Xor: make([]byte, sourceLength),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: subnet.Masked().Addr().AsSlice()},
	}
}

// device compares the name of the device that a packet comes from or goes to.
func device(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

// unasked matches packets that belong to no connection from inside.
func unasked() []expr.Any {
	answers := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: answers, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, binary.Size(uint32(0)))},
	}
}

// warnOfPolicy tells of chains of others that drop what they do not know: no
// table of ours can change that, and theirs are not ours to change.
func warnOfPolicy(ctx context.Context, c *nftables.Conn, bridge string) {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return
	}
	for _, ch := range chains {
		if ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		log.G(ctx).Warnf("the firewall's chain %s of table %s drops forwarded packets: steps reach nothing unless it accepts what comes from and goes to %s "+
			"(for example: iptables -I FORWARD -i %s -j ACCEPT; iptables -I FORWARD -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT)",
			ch.Name, ch.Table.Name, bridge, bridge, bridge)
	}
}
