/** The authenticated user of a request, as `authenticate()` sets it. */
export interface Auth {
  /** The user: unique within the tenant. */
  readonly user: string
  /** The tenant that the user belongs to. */
  readonly tenant: string
  /** When the token or session expires, in ms since 1970. `Infinity`: never. */
  readonly expiresAt: number
  /** All claims of the token. For a session: the `claims` that `resolve` returned, otherwise an empty object. */
  readonly claims: Readonly<Record<string, unknown>>
  /** The id of the session, for `revocations.revoke({ tokenId })`. A token has its id in `claims.jti`. */
  readonly id?: string
  /** When the session began, in ms since 1970. A token has this time in `claims.iat`. */
  readonly issuedAt?: number
}
