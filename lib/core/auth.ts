/** Who a request comes from, as `authenticate()` found out. */
export interface Auth {
  readonly user: string
  readonly tenant: string
  /** When the token or session expires, in ms since 1970. `Infinity`: never. */
  readonly expiresAt: number
  /** All claims of the token; of a session what `resolve` returned as `claims`, else none. */
  readonly claims: Readonly<Record<string, unknown>>
  /** The session's id, for `revocations.revoke({ tokenId })`. A token has its id in `claims.jti`. */
  readonly id?: string
  /** When the session began, in ms since 1970. A token has it in `claims.iat`. */
  readonly issuedAt?: number
}
