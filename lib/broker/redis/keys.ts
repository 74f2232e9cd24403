/** The names of a channel in Redis; see scripts.ts. Channel names hold no braces, so the hash tag is always the kit's. */
export class Keys {
  readonly #prefix: string

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** The pub/sub channel. */
  name(channel: string): string {
    return `${this.#prefix}{${channel}}`
  }

  meta(channel: string): string {
    return `${this.name(channel)}:m`
  }

  stream(channel: string): string {
    return `${this.name(channel)}:s`
  }

  idempotency(channel: string, key: string): string {
    return `${this.name(channel)}:i:${key}`
  }
}
