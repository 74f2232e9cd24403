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

  /** The pub/sub channel of signals to one process, or to all. */
  signals(processId?: string): string {
    return `${this.#prefix}signal${processId === undefined ? '' : `:${processId}`}`
  }

  idempotency(channel: string, key: string): string {
    return `${this.name(channel)}:i:${key}`
  }
}
