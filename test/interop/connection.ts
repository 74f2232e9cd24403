/** A running client, with the same interface for clients in Node, in a shell and in a browser. */
import type { Seen } from './script.js'

export interface Connection {
  /** The events that it has delivered, including the kit's own. */
  seen(): Promise<readonly Seen[]>
  /** Whether it has stopped: it will not reconnect. */
  isOver(): Promise<boolean>
  close(): Promise<void>
}

export interface OpenOptions {
  /** The certificate that it must trust. With it the client uses HTTP/2. */
  readonly ca?: string | undefined
}

export type Open = (url: string, options?: OpenOptions) => Promise<Connection>
