package plugin

// disabledCaps are capabilities of the protocol that this builder does not
// have, with what users are told. Clients look before they ask: it is better
// to say no than to leave something out of a build silently.
var disabledCaps = func() map[string]string {
	out := map[string]string{}
	for reason, ids := range map[string][]string{} {
		for _, id := range ids {
			out[id] = reason
		}
	}
	return out
}()
