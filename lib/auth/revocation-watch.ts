import type { Auth } from '../core/auth.js'
import type { Clock, Timer } from '../core/clock.js'

/** An open stream or poll, which ends when its token is revoked. */
export interface RevocableStream {
  readonly auth?: Auth | undefined
  close(reason: 'revoked'): unknown
}

/** Looks up the tokens of all open streams together, on one timer that runs while there are any. */
export class RevocationWatch {
  readonly #checkMs: number
  readonly #clock: Clock
  readonly #lookUp: (auths: Set<Auth>) => Promise<ReadonlySet<Auth>>
  readonly #streams = new Set<RevocableStream>()
  #timer: Timer | undefined

  /** @param lookUp returns those that are revoked; must not throw */
  constructor(checkMs: number, clock: Clock, lookUp: (auths: Set<Auth>) => Promise<ReadonlySet<Auth>>) {
    this.#checkMs = checkMs
    this.#clock = clock
    this.#lookUp = lookUp
  }

  add(stream: RevocableStream): void {
    this.#streams.add(stream)
    this.#timer ??= this.#clock.after(this.#checkMs, () => void this.#check())
  }

  delete(stream: RevocableStream): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  endRevoked(isRevoked: (auth: Auth) => boolean): void {
    for (const stream of [...this.#streams]) if (stream.auth && isRevoked(stream.auth)) stream.close('revoked')
  }

  async #check(): Promise<void> {
    const auths = new Set<Auth>()
    for (const { auth } of this.#streams) if (auth) auths.add(auth)
    const revoked = await this.#lookUp(auths)
    this.endRevoked((auth) => revoked.has(auth))
    this.#timer = this.#streams.size > 0 ? this.#clock.after(this.#checkMs, () => void this.#check()) : undefined
  }
}
