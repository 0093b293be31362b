"""Products of a server's numbers with another server's numbers, shared between the two, by ring-LWE.

R = Z[X] / (X^n + 1), n = 4096; q = 2^100; t = 2^k. All errors e are centred binomials of 2 x 21 coins.

    K (keeper)     knows b_j,i mod t, j < D and i < n. Draws s ternary and e; with p_1 and all a_j uniform, from seeds
                   that both servers have drawn:
                       p_0 = -p_1 s + e                                                     once, to V
                       b_j = -a_j s + e_j + (q/t) sum_i b_j,i X^i                            once, to V
    V (evaluator)  knows w_j mod t. For every row w it draws u ternary, e'', and r uniform modulo q:
                       c_0 = sum_j w_j b_j + u p_0 + r          c_0' = its top 64 bits
                       c_1 = sum_j w_j a_j + u p_1 + e''        c_1' = its top 72 bits              to K
                   and keeps -round(r t / q) mod t, coefficient by coefficient.
    K              round((c_0' + c_1' s) t / q) = <w, b_.i> + round(r_i t / q) mod t

V draws an r_i again that is closer to a rounding boundary than all noise together, the *band*: so K is right for sure.
Everything is added at the full q, and rounding comes last (docs/security/correlations.md says why this order).

Ciphertexts are multiplied by numbers only. Residues modulo q are four digits of 25 bits, so a batch of rows is a
few float64 matrix products of integers that stay below 2^53; products with ternary polynomials are float64 FFTs
whose error stays below 1/8. `parameters` checks these bounds for every (k, D) and refuses what does not keep them.

Sources: LowGear of Keller, Pastro, Rotaru (Overdrive, EUROCRYPT 2018), with a number in place of one factor; flooding:
Asharov et al. (EUROCRYPT 2012); the FFT's error: Percival (Math. Comp. 72, 2003), theorem 5.1.
"""
