package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is the request's form-decoded query.
func query(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badQuery("the query is not form-encoded")
	}
	return q, nil
}

// understands refuses a parameter that the route does not have, or one that is
// said twice: a slip would get an answer to another question.
func (t *route) understands(r *http.Request) *Refusal {
	if t.loose || r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badQuery("the query is not form-encoded")
	}
	for name, values := range q {
		switch {
		case !slices.Contains(t.params, name) && len(t.params) == 0:
			return badQuery("this path takes no query")
		case !slices.Contains(t.params, name):
			return badQuery("a parameter is unknown: this path takes " + strings.Join(t.params, ", "))
		case len(values) > 1:
			return badQuery(name + ": want it once")
		}
	}
	return nil
}

// count is a parameter from 1 to top in plain decimal, missing when there is
// none.
func count(v url.Values, name string, missing, top int) (int, error) {
	if !v.Has(name) {
		return missing, nil
	}
	n, err := strconv.Atoi(v.Get(name))
	if err != nil || n < 1 || n > top || strconv.Itoa(n) != v.Get(name) {
		return 0, badQuery(name + ": want a whole number from 1 to " + strconv.Itoa(top))
	}
	return n, nil
}

// badQuery says what is wrong with a query. Nothing of the query is repeated:
// it may hold anything.
func badQuery(why string) *Refusal { return &Refusal{http.StatusBadRequest, "bad_request", why} }
