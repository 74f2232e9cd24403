/** The images of the page: logo, avatars, providers, icons. */
import type { CSSProperties, ReactNode } from 'react'
import type { Provider } from './types.js'

export function Logo(): ReactNode {
  return (
    <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" />
      <path d="M8 17.5h4.2l1.6 2.8h4.4l1.6-2.8H24M10.6 9.6h10.8L24 17v5.4H8V17z" />
    </svg>
  )
}

export const PROVIDER_NAMES: Readonly<Record<Provider, string>> = {
  whatsapp: 'WhatsApp',
  messenger: 'Messenger',
  instagram: 'Instagram',
}

const PROVIDER_PATHS: Readonly<Record<Provider, string>> = {
  whatsapp:
    'M5.2 4.4c-.5.9-.3 2.3.7 3.6 1 1.2 2.4 2 3.5 1.8.6-.1 1-.7 1-1.2l-1.3-.8-.9.6c-.7-.3-1.3-.9-1.7-1.7l.6-.8-.7-1.5c-.5-.1-.9-.1-1.2 0z',
  messenger: 'M3.4 8.9 6 5.9l2 1.5 2.6-1.5L8 8.9 6 7.4z',
  instagram:
    'M5 3.6h4A1.4 1.4 0 0 1 10.4 5v4A1.4 1.4 0 0 1 9 10.4H5A1.4 1.4 0 0 1 3.6 9V5A1.4 1.4 0 0 1 5 3.6zM7 5.6a1.4 1.4 0 1 0 0 2.8 1.4 1.4 0 0 0 0-2.8z',
}

/** A small round mark in the provider's colour. */
function ProviderMark({ provider }: { readonly provider: Provider }): ReactNode {
  return (
    <svg className={`provider ${provider}`} viewBox="0 0 14 14" role="img" aria-label={PROVIDER_NAMES[provider]}>
      <title>{PROVIDER_NAMES[provider]}</title>
      <circle cx="7" cy="7" r="7" />
      <path d={PROVIDER_PATHS[provider]} />
    </svg>
  )
}

export interface AvatarProps {
  readonly name: string
  readonly provider?: Provider
}

export function Avatar({ name, provider }: AvatarProps): ReactNode {
  return (
    <span className="avatar" style={{ '--hue': hueOf(name) } as CSSProperties}>
      <span aria-hidden="true">{initialsOf(name)}</span>
      {provider !== undefined && <ProviderMark provider={provider} />}
    </span>
  )
}

/** The same name always has the same colour. */
function hueOf(name: string): number {
  let hash = 7
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 3600
  return hash % 360
}

function initialsOf(name: string): string {
  const words = name.split(/[\s._-]+/).filter((word) => word !== '')
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? '')][0] ?? '')
  return letters.join('').toUpperCase() || '?'
}

const ICONS = {
  back: 'M12.5 4.5 7 10l5.5 5.5',
  send: 'M3.5 10 16.5 4l-4 12.5-3-5z',
  signOut: 'M8 4H4.5v12H8M12 6.5l3.5 3.5-3.5 3.5M15 10H8',
  chats: 'M4 5h12v8H9l-3.5 3v-3H4z',
  compare: 'M3.5 16.5h13M6 16V9.5M10 16V4M14 16v-3.5',
  down: 'M10 4v12M5 11l5 5 5-5',
} as const

export function Icon({ name }: { readonly name: keyof typeof ICONS }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  )
}
