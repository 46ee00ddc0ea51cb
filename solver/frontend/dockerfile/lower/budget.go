package lower

import "errors"

// budgetBytes is what a conversion may produce in total: expanded words,
// history, environments of steps. Every honest Dockerfile stays far below; a
// few lines that double a variable over and over do not.
const budgetBytes = 64 << 20

// errBudget is the failure of a conversion that produces too much.
var errBudget = errors.New("the Dockerfile expands to more than the max allowed size of 64 MiB")

// minBudget is what a conversion may produce at least, however many share the
// whole.
const minBudget = 4 << 20

// newBudget is the budget of one of several conversions of a request.
func newBudget(share int) *budget {
	return &budget{left: max(budgetBytes/max(share, 1), minBudget)}
}

// budget bounds a conversion's memory. It is shared by all stages of one
// conversion.
type budget struct{ left int }

// spend takes n bytes off the budget.
func (b *budget) spend(n int) error {
	if b.left -= n; b.left < 0 {
		return errBudget
	}
	return nil
}
