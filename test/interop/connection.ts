/** A client at work, alike for all of them, whether it runs here, in a shell or in a browser's page. */
import type { Seen } from './script.js'

export interface Connection {
  /** What it has passed on, the kit's own events too. */
  seen(): Promise<readonly Seen[]>
  /** Whether it has given up: it will not come back by itself. */
  isOver(): Promise<boolean>
  close(): Promise<void>
}

export interface OpenOptions {
  /** The certificate it should trust, and so: speak HTTP/2. */
  readonly ca?: string | undefined
}

export type Open = (url: string, options?: OpenOptions) => Promise<Connection>
