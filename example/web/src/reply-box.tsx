import { type FormEvent, type KeyboardEvent, type ReactNode, useRef, useState } from 'react'
import { Icon } from './marks.js'

export interface ReplyBoxProps {
  readonly contact: string
  readonly onSend: (text: string) => void
}

const MAX_LENGTH = 4096

/** Enter sends, Shift+Enter starts a new line. During IME composition, Enter ends the composition. */
export function ReplyBox({ contact, onSend }: ReplyBoxProps): ReactNode {
  const [text, setText] = useState('')
  const box = useRef<HTMLTextAreaElement>(null)
  const ready = text.trim() !== ''

  function submit(event?: FormEvent): void {
    event?.preventDefault()
    if (!ready) return
    onSend(text.trim())
    setText('')
    box.current?.focus()
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    submit()
  }

  return (
    <form className="reply" onSubmit={submit}>
      {/* The pseudo-element contains the same text and gives the box its height. */}
      <div className="growing" data-text={`${text}\n`}>
        <textarea
          ref={box}
          id="reply"
          rows={1}
          value={text}
          maxLength={MAX_LENGTH}
          placeholder="Write a reply"
          aria-label={`Reply to ${contact}`}
          enterKeyHint="send"
          data-testid="reply"
          onChange={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
        />
      </div>
      <button type="submit" className="primary round" disabled={!ready} aria-label="Send" data-testid="send">
        <Icon name="send" />
      </button>
    </form>
  )
}
