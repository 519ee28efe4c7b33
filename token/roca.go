package token

import "math/big"

// rocaPrimes are the small primes whose product is the M of the flawed
// generator for keys up to 512 bits of prime; longer keys use more of them, so
// these are in every flawed key.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73,
	79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157,
	163, 167,
}

// hasROCA recognizes RSA moduli of CVE-2017-15361 by their fingerprint: the
// primes are k*M + (65537^a mod M), so modulo each small prime the modulus lies
// in the subgroup that 65537 generates. A good key passes all of these by
// chance less than once in 2^27.
func hasROCA(n *big.Int) bool {
	rest := new(big.Int)
	for _, p := range rocaPrimes {
		r := rest.Mod(n, big.NewInt(p)).Int64()
		if !generatedBy65537(r, p) {
			return false
		}
	}
	return true
}

func generatedBy65537(r, p int64) bool {
	g := int64(65537) % p
	for x := int64(1); ; {
		if x == r {
			return true
		}
		if x = x * g % p; x == 1 {
			return false
		}
	}
}
